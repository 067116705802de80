import { EventEmitter, on } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { FastifyInstance } from 'fastify';
import { onTestFinished } from 'vitest';
import { ContentStore } from '../../../src/artifact/store.ts';
import type { Result } from '../../../src/cli/render/renderer.ts';
import { type ApiParts, apiServer } from '../../../src/daemon/api.ts';
import { Collector } from '../../../src/daemon/collector.ts';
import { DataVolumes } from '../../../src/daemon/data-volumes.ts';
import { Deployments } from '../../../src/daemon/deployments.ts';
import { Orders } from '../../../src/daemon/orders.ts';
import { statePaths } from '../../../src/daemon/paths.ts';
import { Services } from '../../../src/daemon/services.ts';
import { simulation } from '../../../src/daemon/simulation.ts';
import { Snapshots } from '../../../src/daemon/snapshots.ts';
import { systemClock } from '../../../src/daemon/system-clock.ts';
import { VolumeCopies } from '../../../src/daemon/volume-copies.ts';
import { UNFENCED } from '../../../src/domain/fence.ts';
import type { Happening } from '../../../src/domain/journal.ts';
import type { Rollout, Verdict } from '../../../src/domain/rollout.ts';
import { Routing } from '../../../src/engine/routing.ts';
import type { ErrorReport } from '../../../src/errors.ts';
import { SnapshotCatalogue } from '../../../src/snapshots/catalogue.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { HEALTH } from '../../support/revisions.ts';
import { until } from '../proxy/scene.ts';

const UNIDEPLOY = fileURLToPath(new URL('../../../bin/unideploy', import.meta.url));
const DEADLINE = 30_000;

export interface Said {
  exitCode: number | undefined;
  stdout: string;
  stderr: string;
}

export interface Running {
  pid: number;
  outcome: Promise<Said>;
}

/** The API of a controller with its store and its verbs, on a unix socket; what the engine would do, the test does. */
export type Stage = Awaited<ReturnType<typeof openStage>>;

export async function openStage() {
  const root = await mkdtemp(join(tmpdir(), 'ud-cli-'));
  const paths = statePaths(join(root, 'state'));
  const project = join(root, 'project');
  await mkdir(paths.root);
  await mkdir(project);
  const store = sqliteStore(':memory:');
  const journaled = new EventEmitter().setMaxListeners(0);
  const onJournal = (rollout: number) => void journaled.emit('entry', rollout);
  const sim = simulation({ revisionOf: (service, number) => store.revision(service, number) });
  const routing = new Routing(sim.dataPlane, store);
  const parts = { ...sim.controller(HEALTH), store, routing, clock: systemClock, onJournal };
  const artifacts = await ContentStore.open(paths.artifacts);
  const begun: Rollout[] = [];
  const services = new Services(parts, store);
  const collector = new Collector({ store, artifacts, hypervisor: sim.world.hypervisor, clock: systemClock });
  const orders = new Orders(parts, store, services);
  const deployments = new Deployments(parts, {
    store,
    artifacts,
    orders,
    runs: {
      start: (rollout) => {
        begun.push(rollout);
        onJournal(rollout.id);
      },
      ended: async () => {},
    },
    tidier: { idle: async () => {} },
  });
  const apiParts: ApiParts = {
    state: paths.root,
    deployments,
    data: new DataVolumes({ ...parts, orders, deployments }),
    orders,
    services,
    collector,
    snapshots: new Snapshots({
      ...{ store, hypervisor: sim.world.hypervisor, clock: systemClock, fence: UNFENCED },
      catalogue: new SnapshotCatalogue(paths.snapshots),
    }),
    copies: new VolumeCopies(paths.dataCopies, { ...parts, store, hypervisor: sim.world.hypervisor }),
    store,
    artifacts,
    hypervisor: sim.world.hypervisor,
    dataPlane: { upgrade: async () => {} },
    metrics: async () => '',
    journaled,
    troubles: () => [],
    leftovers: async () => [],
    stop: () => {},
  };
  const listen = async () => {
    const server = await apiServer(apiParts);
    await server.listen({ path: paths.socket });
    return server;
  };
  let api: FastifyInstance | null = await listen();
  const running = new Set<number>();
  onTestFinished(async () => {
    for (const pid of running) process.kill(pid, 'SIGKILL');
    await api?.close();
    store.close();
    await rm(root, { recursive: true, force: true });
  });

  /** Runs through what has been journaled until the condition holds. */
  const eventually = async <T>(found: () => T | null | undefined | false): Promise<T> => {
    const events = on(journaled, 'entry', { signal: AbortSignal.timeout(DEADLINE) });
    try {
      for (;;) {
        const value = found();
        if (value) return value;
        await events.next();
      }
    } finally {
      await events.return?.();
    }
  };

  const start = (args: string[], env: Record<string, string> = {}): Running => {
    const child = execa(process.execPath, [UNIDEPLOY, ...args], {
      cwd: project,
      env: {
        UNIDEPLOY_STATE: paths.root,
        UNIDEPLOY_PERFORMER: 'ana@ci',
        NO_COLOR: '1',
        GITHUB_ACTIONS: '',
        ...env,
      },
      reject: false,
    });
    const { pid } = child;
    if (pid === undefined) throw new Error(`unideploy ${args.join(' ')} did not start`);
    running.add(pid);
    const outcome = child.then(({ exitCode, stdout, stderr }) => {
      running.delete(pid);
      return { exitCode, stdout, stderr };
    });
    return { pid, outcome };
  };

  return {
    paths,
    apiParts,
    store,
    deployments,
    sim,
    project,
    eventually,
    start,
    configure: async (more = '', text = 'first') => {
      await writeFile(join(project, 'kernel'), text);
      await writeFile(
        join(project, 'unideploy.yaml'),
        `service: site\nlisten: 0\nreplicas: 2\nguest: {profile: linux, kernel: kernel}\n${more}`,
      );
    },
    /** empty while the file is not there */
    read: (file: string) =>
      existsSync(join(project, file)) ? readFileSync(join(project, file), 'utf8') : '',
    cli: (args: string[], env: Record<string, string> = {}) => start(args, env).outcome,
    /** The rollout that a command has asked for. */
    begun: () => eventually(() => begun.shift()),
    tell(rollout: Rollout, happening: Happening) {
      store.append(rollout, Date.now(), happening);
      onJournal(rollout.id);
    },
    /** Has the rollout stand at a gate, as the engine does. */
    reach(rollout: Rollout, gate: string, ms: number | null) {
      const gates = { [gate]: { reachedAt: Date.now(), passedAt: null, stuck: null } };
      store.updateRollout({ ...rollout, gates });
      this.tell(rollout, { event: 'gate-reached', gate, promotable: true, ms });
    },
    finish(rollout: Rollout, verdict: Verdict, reason: ErrorReport | null = null) {
      const ended = { ...rollout, state: verdict, endedAt: Date.now(), reason };
      const ms = ended.endedAt - rollout.startedAt;
      const last: Happening = {
        event: 'rollout-finished',
        verdict,
        reason,
        ms,
        evidence: null,
        verified: true,
      };
      store.closeRollout(ended, last, 'nothing');
      onJournal(rollout.id);
    },
    /** So many commands read a journal as it is written. */
    followed: (by = 1) =>
      until('a journal is followed', () => journaled.listenerCount('entry') >= by, DEADLINE),
    ordered: (rollout: Rollout, how: 'abort' | 'promote' | 'promote-full') =>
      eventually(() =>
        store.journal(rollout.id, 0).some((entry) => entry.event === 'ordered' && entry.how === how),
      ),
    /** The controller goes away. */
    leave: async () => {
      await api?.close();
      api = null;
    },
    /** The next one is there. */
    comeBack: async () => {
      api = await listen();
    },
  };
}

/** The last line of `--json`. */
export function resultOf({ stdout }: Said): Result {
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Result;
}

/** A first rollout that has succeeded: revision 1 serves. */
export async function servingStage(): Promise<Stage> {
  const stage = await openStage();
  await stage.configure();
  const outcome = stage.cli(['rollout']);
  stage.finish(await stage.begun(), 'succeeded');
  await outcome;
  return stage;
}
