import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { ServiceStatus } from '../src/daemon/messages.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CLI = join(ROOT, 'bin', 'unideploy');
const EXAMPLES = join(ROOT, 'examples');

type Example = 'html-site' | 'php-app' | 'compiled-app';

/** A copy of an example that may be changed and deployed, with a controller and a state of its own. */
export interface Project {
  folder: string;
  edit(file: string, change: (text: string) => string): Promise<void>;
  /** Runs unideploy in the project. What it prints goes to `onLine`; its exit code is the answer. */
  unideploy(args: string[]): Promise<number>;
  /** how the last command of this project says it has ended, and how long the rollout took in ms */
  result(args: string[]): Promise<{ exitCode: number; result: string; ms: number; wall: number }>;
  status(): Promise<ServiceStatus>;
  /** where its clients go */
  url(): Promise<string>;
}

export interface Workplace {
  project(example: Example): Promise<Project>;
  /** Takes every service down and removes all that was made. */
  close(): Promise<void>;
}

/** A folder of its own for a demonstration or a measurement: nothing of the checkout or of the user's state is touched. */
export async function openWorkplace(onLine: (line: string) => void): Promise<Workplace> {
  const root = await mkdtemp(join(tmpdir(), 'unideploy-'));
  const state = join(root, 'state');
  const projects: Project[] = [];
  return {
    async project(example) {
      const made = await makeProject(join(root, example), example, state, onLine);
      projects.push(made);
      return made;
    },
    async close() {
      for (const project of projects) await project.unideploy(['down']).catch(() => {});
      await rm(root, { recursive: true, force: true });
    },
  };
}

async function makeProject(
  folder: string,
  example: Example,
  state: string,
  onLine: (line: string) => void,
): Promise<Project> {
  await cp(join(EXAMPLES, example), folder, {
    recursive: true,
    filter: (path) => !path.endsWith('build.out'),
  });
  const edit: Project['edit'] = async (file, change) => {
    const path = join(folder, file);
    await writeFile(path, change(await readFile(path, 'utf8')));
  };
  // Away from its neighbours, the example finds the guest by its whole path, and any free port will do.
  const guest = join(EXAMPLES, 'linux-unikernel');
  await edit('unideploy.yaml', (text) =>
    text.replaceAll('../linux-unikernel', guest).replace(/listen: \d+/, 'listen: 0'),
  );
  if (example === 'compiled-app')
    await edit('build', (text) => text.replace('$here/../linux-unikernel', guest));

  const options = { cwd: folder, env: { UNIDEPLOY_STATE: state, NO_COLOR: '1' }, reject: false } as const;
  const status = async (): Promise<ServiceStatus> => {
    const { service } =
      /service: (?<service>\S+)/.exec(await readFile(join(folder, 'unideploy.yaml'), 'utf8'))?.groups ?? {};
    const { stdout } = await execa(CLI, ['status', '--json', '--service', service ?? ''], options);
    return (JSON.parse(stdout) as ServiceStatus[])[0] as ServiceStatus;
  };
  return {
    folder,
    edit,
    async unideploy(args) {
      const child = execa(CLI, args, { ...options, all: true });
      for await (const line of child.iterable({ from: 'all' })) onLine(line);
      return (await child).exitCode ?? 1;
    },
    async result(args) {
      const { stdout, durationMs } = await execa(CLI, [...args, '--json'], options);
      const last = JSON.parse(stdout.split('\n').at(-1) ?? '{}') as {
        exitCode: number;
        result: string;
        ms: number;
      };
      return { ...last, wall: durationMs };
    },
    status,
    async url() {
      const { listen } = await status();
      if (!listen) throw new Error('the service has no listener');
      return `http://${listen.host}:${listen.port}/`;
    },
  };
}
