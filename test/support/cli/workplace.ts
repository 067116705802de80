import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { stringify } from 'yaml';
import { apiClient, type Client } from '../../../src/daemon/client.ts';
import type { InstanceStatus, ServiceStatus } from '../../../src/daemon/messages.ts';
import { statePaths } from '../../../src/daemon/paths.ts';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import type { ErrorReport } from '../../../src/errors.ts';
import { type Load, startLoad } from '../http/load.ts';
import { eventually } from '../qemu/asking.ts';
import { referenceGuest } from './guest.ts';
import { end, type Process, processesOf } from './processes.ts';

const UNIDEPLOY = fileURLToPath(new URL('../../../bin/unideploy', import.meta.url));

/** A line of `--json`: an event of the journal, a remark, or the result at the end. */
type Line = Partial<Extract<JournalEntry, { event: 'rollback-started' }>> & {
  event?: string;
  text?: string;
  result?: string;
  revision?: number | null;
  error?: ErrorReport | null;
};

export interface Outcome {
  exitCode: number | undefined;
  stdout: string;
  stderr: string;
  /** standard output line by line, where `--json` was asked for */
  lines: Line[];
  /** the last of `lines` */
  last: Line;
}

/** A command that runs, or a controller in the foreground. */
export interface Running {
  pid: number;
  /** standard output so far */
  said: () => string;
  outcome: Promise<Outcome>;
}

/** What a test says of its `unideploy.yaml`; everything else is the base's. */
interface ConfigChange {
  replicas?: number;
  listen?: number | string;
  guest?: Record<string, unknown>;
  volumes?: Record<string, unknown>[];
  image?: Record<string, unknown>;
  data?: Record<string, unknown>[];
  health?: Record<string, unknown>;
  rollout?: Record<string, unknown>;
  supervision?: Record<string, unknown>;
  proxy?: Record<string, unknown>;
}

/** A project and a state folder of its own, and every process that came of them. */
export interface Workplace {
  /** the state folder */
  state: string;
  /** the project: `unideploy.yaml` and `public/` */
  project: string;
  /** Writes the config: the base with this change, and with no earlier one. */
  configure(change?: ConfigChange): Promise<void>;
  /** Writes a file below `public/`. */
  publish(text: string, file?: string): Promise<void>;
  /** Runs unideploy in the project, to its end. */
  cli(args: string[], env?: Record<string, string>): Promise<Outcome>;
  /** Starts unideploy in the project. */
  start(args: string[]): Running;
  /** Starts a controller as a user would with `unideploy serve`, and waits until it answers. */
  serve(): Promise<Running>;
  /** As `unideploy status --json` shows it, asked without a process: tests look often. */
  status(): Promise<ServiceStatus>;
  /** of the controller that answers */
  controllerPid(): Promise<number>;
  dataPlanePid(): Promise<number>;
  /** process id by instance, from the run directories */
  guestPids(): Promise<Record<string, number>>;
  /** 8 connections, 40 requests a second: enough to meet every moment of a rollout, and no burden for emulated guests */
  load(path?: string, rate?: number): Promise<Load>;
  /** every process of this workplace */
  processes(): Process[];
  /** Takes everything down, by force what does not go by itself, and removes the folders. */
  close(): Promise<void>;
}

export async function openWorkplace(kind: 'files' | 'php' = 'files'): Promise<Workplace> {
  const guest = await referenceGuest(kind);
  // Short: socket paths end at 107 bytes.
  const root = await mkdtemp(join(tmpdir(), 'ud-e2e-'));
  const state = join(root, 'state');
  const project = join(root, 'project');
  await mkdir(join(project, 'public'), { recursive: true });
  const base = {
    service: 'site',
    replicas: 2,
    listen: 0,
    guest: { profile: 'linux', accel: 'tcg', memory: kind === 'php' ? '192M' : '96M', ...guest },
    volumes: [{ source: './public' }],
  };
  const options = {
    cwd: project,
    env: { UNIDEPLOY_STATE: state, UNIDEPLOY_PERFORMER: 'a test', NO_COLOR: '1', GITHUB_ACTIONS: '' },
    reject: false,
  } as const;

  const workplace: Workplace = {
    state,
    project,
    async configure({ guest: machine, ...change } = {}) {
      const config = { ...base, ...change, guest: { ...base.guest, ...machine } };
      await writeFile(join(project, 'unideploy.yaml'), stringify(config));
    },
    publish: (text, file = 'index.html') => writeFile(join(project, 'public', file), text),
    async cli(args, env = {}) {
      // Not by its shebang: a test may take PATH away.
      const result = await execa(process.execPath, [UNIDEPLOY, ...args], {
        ...options,
        env: { ...options.env, ...env },
      });
      return outcome(result, args);
    },
    start(args) {
      const child = execa(process.execPath, [UNIDEPLOY, ...args], options);
      if (child.pid === undefined) throw new Error(`unideploy ${args.join(' ')} did not start`);
      let said = '';
      child.stdout.on('data', (piece: Buffer) => {
        said += piece.toString();
      });
      return { pid: child.pid, said: () => said, outcome: child.then((result) => outcome(result, args)) };
    },
    async serve() {
      const running = workplace.start(['serve', '--state', state]);
      await eventually('the controller answers', async () => (await ping(state)) === running.pid, 30_000);
      return running;
    },
    status: () => asked(state, (client) => client.service('site')),
    async controllerPid() {
      const pid = await ping(state);
      if (pid === null) throw new Error('no controller answers');
      return pid;
    },
    dataPlanePid: async () => Number(await readFile(join(state, 'proxy.pid'), 'utf8')),
    async guestPids() {
      const ids = (await readdir(join(state, 'run'))).filter((name) => !name.startsWith('.')).sort();
      // A guest that is only just being launched has no process id yet.
      const read = (id: string) => readFile(join(state, 'run', id, 'qemu.pid'), 'utf8').catch(() => null);
      const pids = await Promise.all(ids.map(async (id) => [id, await read(id)] as const));
      return Object.fromEntries(pids.flatMap(([id, pid]) => (pid === null ? [] : [[id, Number(pid)]])));
    },
    async load(path = '/', rate = 40) {
      const { listen } = await workplace.status();
      if (!listen) throw new Error('the service has no listener');
      return startLoad({ url: `http://${listen.host}:${listen.port}${path}`, connections: 8, rate });
    },
    processes: () => processesOf(root),
    async close() {
      if (processesOf(root).length > 0) await workplace.cli(['down']);
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        for (const { pid } of processesOf(root)) end(pid, signal);
        const gone = eventually('the processes end', () => processesOf(root).length === 0, 5_000);
        if (
          await gone.then(
            () => true,
            () => false,
          )
        )
          break;
      }
      await rm(root, { recursive: true, force: true });
    },
  };
  await workplace.configure();
  await workplace.publish('<h1>one</h1>\n');
  return workplace;
}

/** What every instance serves, as its status says: `site-1-1 1 verified`. */
export function serving({ instances }: ServiceStatus): string[] {
  const word = ({ id, revision, verified, health, weight }: InstanceStatus) =>
    `${id} ${revision} ${verified && health === 'healthy' && weight > 0 ? 'verified' : `${health}, weight ${weight}`}`;
  return instances.map(word).sort();
}

/** Whether anything accepts connections there. */
export function listens({ host, port }: { host: string; port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

function outcome(
  { exitCode, stdout, stderr }: { exitCode?: number | undefined; stdout: string; stderr: string },
  args: string[],
): Outcome {
  const lines = args.includes('--json') ? parse(stdout) : [];
  return { exitCode, stdout, stderr, lines, last: lines.at(-1) ?? {} };
}

function parse(stdout: string): Line[] {
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);
}

/** Process id of the controller that answers; null when none does. */
async function ping(state: string): Promise<number | null> {
  return await asked(state, async (client) => (await client.ping()).pid).catch(() => null);
}

async function asked<T>(state: string, question: (client: Client) => Promise<T>): Promise<T> {
  const client = apiClient(statePaths(state));
  try {
    return await question(client);
  } finally {
    await client.close();
  }
}
