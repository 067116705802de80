import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BuildLog } from '../artifact/build-log.ts';
import type { OnLine } from '../artifact/commands.ts';
import { digestFile } from '../artifact/digest.ts';
import type { Config } from '../config/config.ts';
import type { Build, Digest, RevisionSpec } from '../domain/revision.ts';
import { UnideployError } from '../errors.ts';
import { type Context, secrets } from './context.ts';

/** The log of a build, if there is anything to log: a config without commands has none. */
export interface KeptLog {
  onLine: OnLine;
  /** Says what came of it, and gives the file as an artifact; null: there was no command. */
  ended(built: Pick<RevisionSpec, 'image' | 'volumes'>): Promise<{ build: Build; path: string } | null>;
  /** The error of a build, with the way to all that was said. */
  failed(error: unknown): unknown;
}

/** Shows each line, and writes it down without secrets. Of the same build the log is the same: it tells no time. */
export function keepLog({ paths, renderer }: Pick<Context, 'paths' | 'renderer'>, config: Config): KeptLog {
  const commands = commandsOf(config);
  if (commands.length === 0)
    return {
      onLine: (line) => renderer.build(line),
      ended: async () => null,
      failed: (error) => error,
    };
  const log = openLog(paths.builds, config.service);
  const say = (line: string) => log.line(secrets.veil(line));
  for (const command of commands) say(command);
  return {
    onLine: (line) => {
      renderer.build(line);
      say(line);
    },
    async ended(built) {
      for (const line of outputs(built)) say(line);
      log.close();
      const { build } = config;
      const digest: Digest = await digestFile(log.path);
      const environment = Object.keys(build?.env ?? {});
      const command = build && secrets.veil(build.command);
      return { build: { log: digest, command, environment }, path: log.path };
    },
    failed(error) {
      log.close();
      if (!(error instanceof UnideployError) || error.code !== 'UD_BUILD_FAILED') return error;
      const next = `read all it said in ${log.path}; ${error.next}`;
      return new UnideployError(error.code, error.message, next, { cause: error });
    },
  };
}

/** A build is not to fail because its log cannot be where it should. */
function openLog(folder: string, service: string): BuildLog {
  try {
    return BuildLog.open(folder, service, new Date());
  } catch {
    return new BuildLog(join(mkdtempSync(join(tmpdir(), 'unideploy-log-')), `${service}.log`));
  }
}

function commandsOf({ build, volumes }: Config): string[] {
  const ofImage = build
    ? [`image: ${build.command}`, ...Object.entries(build.env).map(([name, value]) => `  ${name}=${value}`)]
    : [];
  const ofVolumes = volumes.flatMap(({ name, content }) =>
    content.kind === 'build' ? [`volume ${name}: ${content.command}`] : [],
  );
  return [...ofImage, ...ofVolumes];
}

function outputs({ image, volumes }: Pick<RevisionSpec, 'image' | 'volumes'>): string[] {
  const files = image.kind === 'disk' ? { disk: image.disk } : { kernel: image.kernel, initrd: image.initrd };
  return [
    ...Object.entries(files).flatMap(([name, digest]) => (digest === null ? [] : [`${name} ${digest}`])),
    ...volumes.map(({ name, digest, format, size }) => `volume ${name} ${digest} ${format} ${size} bytes`),
  ];
}
