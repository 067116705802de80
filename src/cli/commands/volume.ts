import { constants, copyFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type Content, contentsOf, differences } from '../../artifact/contents.ts';
import { digestFile } from '../../artifact/digest.ts';
import { buildVolume } from '../../artifact/volume.ts';
import { loadConfig } from '../../config/load.ts';
import { UnideployError } from '../../errors.ts';
import { type Context, serviceOf, withClient } from '../context.ts';
import { print } from '../print.ts';
import { table } from '../render/table.ts';
import { size } from '../render/words.ts';
import { run } from '../run.ts';
import { findVolume, type NamedVolume, withVolume } from '../volumes.ts';
import { volumeCopyCommands } from './volume-copies.ts';
import { dataTable, dataVolumeCommands, dataVolumesOf, removeData } from './volume-data.ts';

export function volumeCommand(program: Command): void {
  const group = program
    .command('volume')
    .description('build code volumes, look into those that are there, and see to data volumes');
  const named = '<volume>';
  const forms = 'a file, REVISION, REVISION/NAME, or the beginning of a digest';

  const build = group
    .command('build')
    .description('build the volumes of the config into files, and deploy nothing')
    .argument('[names...]', 'which; all if left out')
    .option('-o, --output <folder>', 'where the files go', '.');
  run(build, buildAll);

  const ls = group
    .command('ls')
    .description('list the code volumes of all revisions, and which the store has; and the data volumes');
  run(ls, list);

  const inspect = group
    .command('inspect')
    .description('tell what a volume is, and what it holds')
    .argument(named, forms);
  run(inspect, (context, volume: string) =>
    lookInto(context, volume, async (found) => {
      const told = await describe(found);
      if (context.json) print(JSON.stringify(told));
      else {
        const { digest, format, bytes, revision, contents } = told;
        print(`${digest}  ${format}  ${size(bytes)}${revision === null ? '' : `  ${revision}`}`);
        for (const entry of contents ?? []) print(contentLine(entry));
      }
    }),
  );

  const diff = group
    .command('diff')
    .description('tell what differs between two volumes')
    .argument('<from>', forms)
    .argument('<to>', forms);
  run(diff, (context, from: string, to: string) =>
    lookInto(context, from, async (one) =>
      lookInto(context, to, async (other) => {
        const [before, after] = await Promise.all(
          [one, other].map((each) => contentsOf(each.file, each.format)),
        );
        const changes = differences(before ?? [], after ?? []);
        if (context.json) print(JSON.stringify({ changes }));
        else for (const { path, change } of changes) print(`${MARKS[change]} ${path}`);
      }),
    ),
  );

  const remove = group
    .command('rm')
    .description('remove a volume from the store, unless it runs or a revision is kept for it')
    .argument(named, `${forms.replace('a file, ', '')}; with --data the name of a data volume`)
    .option('--data', 'a data volume, which the service must not want any more, and all that is kept of it')
    .option('--yes', 'really: what a data volume holds is gone for good');
  run(remove, async (context, volume: string, { data, yes }: { data?: boolean; yes?: boolean }) => {
    if (data) return await removeData(context, volume, yes === true);
    return await withClient(context, async (client) => {
      const { revisions } = await client.history(await serviceOf(context, client));
      const { digest } = findVolume(revisions, volume);
      await client.removeArtifact(digest);
      print(context.json ? JSON.stringify({ removed: digest }) : `removed ${digest.slice(0, 12)}`);
      return 0;
    });
  });
  dataVolumeCommands(group);
  volumeCopyCommands(group);
}

const MARKS = { added: '+', removed: '-', changed: '~' } as const;

async function buildAll(context: Context, names: string[], { output }: { output: string }): Promise<number> {
  const config = await loadConfig(context.file);
  const known = config.volumes.map(({ name }) => name);
  const stranger = names.find((name) => !known.includes(name));
  if (stranger !== undefined)
    throw new UnideployError(
      'UD_UNKNOWN_VOLUME',
      `${context.file} has no volume ${stranger}; it has ${known.join(', ') || 'none'}`,
      'name one of these, or none for all',
    );
  const work = await mkdtemp(join(tmpdir(), 'unideploy-build-'));
  try {
    for (const wanted of config.volumes.filter(({ name }) => names.length === 0 || names.includes(name))) {
      const { file, volume } = await buildVolume(wanted, work, (line) => context.renderer.build(line));
      const to = join(output, `${volume.name}.${volume.format}`);
      await copyFile(file, to, constants.COPYFILE_FICLONE);
      const { name, digest, format, size: bytes, revision } = volume;
      const line = [to, digest.slice(0, 12), size(bytes), revision ?? 'no revision'].join('  ');
      print(context.json ? JSON.stringify({ file: to, name, digest, format, bytes, revision }) : line);
    }
    return 0;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function list(context: Context): Promise<number> {
  return await withClient(context, async (client) => {
    const service = await serviceOf(context, client);
    const { revisions } = await client.history(service);
    const data = await dataVolumesOf(client, service);
    const { kept, removed } = await client.collect(0, true);
    const reasons = new Map(kept.map(({ name, reason }) => [name, reason]));
    const unneeded = new Set(removed.map(({ name }) => name));
    const volumes = revisions.flatMap(({ number, volumes: its }) =>
      its.map((volume) => ({
        ...{ in: number, name: volume.name, format: volume.format, bytes: volume.size },
        ...{ digest: volume.digest, revision: volume.revision },
        stored: reasons.has(volume.digest) || unneeded.has(volume.digest),
        kept: reasons.get(volume.digest) ?? null,
      })),
    );
    if (context.json) print(JSON.stringify([...volumes, ...data.map((each) => ({ kind: 'data', ...each }))]));
    else {
      print(
        table(
          ['volume', 'format', 'size', 'digest', 'says', 'store'],
          volumes.map((each) => [
            `${each.in}/${each.name}`,
            each.format,
            size(each.bytes),
            each.digest.slice(0, 12),
            each.revision ?? '–',
            each.stored ? (each.kept ?? 'not needed') : 'gone',
          ]),
        ),
      );
      if (data.length > 0) print(`\n${dataTable(data)}`);
    }
    return 0;
  });
}

/** Does something with a volume, wherever it is; a file of the user's needs no controller. */
async function lookInto(
  context: Context,
  named: string,
  use: (volume: NamedVolume) => Promise<unknown>,
): Promise<number> {
  const look = async (client: Parameters<Parameters<typeof withClient>[1]>[0]) => {
    const source = async () => {
      const { revisions } = await client.history(await serviceOf(context, client));
      return { client, revisions };
    };
    await withVolume(named, source, use);
  };
  await withClient(context, look);
  return 0;
}

async function describe({ volume, format, file }: NamedVolume) {
  const [digest, { size: bytes }] = await Promise.all([digestFile(file), stat(file)]);
  const contents = format === 'raw' ? null : await contentsOf(file, format);
  return { digest, format, bytes, revision: volume?.revision ?? null, contents };
}

function contentLine(entry: Content): string {
  if (entry.kind === 'folder') return `${entry.path}/`;
  if (entry.kind === 'link') return `${entry.path} → ${entry.target}`;
  return `${entry.path}  ${size(entry.size)}${entry.executable ? '  executable' : ''}`;
}
