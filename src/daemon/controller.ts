import { EventEmitter, once } from 'node:events';
import { chmod, rm } from 'node:fs/promises';
import type { FastifyInstance } from 'fastify';
import pRetry from 'p-retry';
import { strategies } from '../../strategies/index.ts';
import { ContentStore } from '../artifact/store.ts';
import type { Rollout } from '../domain/rollout.ts';
import { type EngineParts, runRollout } from '../engine/engine.ts';
import { Monitor } from '../engine/monitor.ts';
import { Routing } from '../engine/routing.ts';
import { report } from '../errors.ts';
import { qemuHypervisor } from '../hypervisor/qemu/index.ts';
import { httpProber } from '../probe/http.ts';
import type { Store } from '../store/port.ts';
import { sqliteStore } from '../store/sqlite.ts';
import { apiServer } from './api.ts';
import { dataPlaneOf } from './data-plane.ts';
import { Deployments } from './deployments.ts';
import { lockState } from './lock.ts';
import { makeStateFolder, type StatePaths } from './paths.ts';
import type { ProxyEngine } from './proxy-engine.ts';
import { systemClock } from './system-clock.ts';

/**
 * Runs the controller of one state until it is told to stop. It takes over what it finds: open rollouts go on, guests and
 * data plane are adopted; when it stops, or is killed, both go on without it.
 * @param proxy the data plane's engine; the state's own when it is not said
 * @throws UD_CONTROLLER_RUNNING, UD_STATE_PATH, UD_USAGE, UD_TOOL_MISSING
 */
export async function serve(
  paths: StatePaths,
  log: (line: string) => void,
  proxy?: ProxyEngine,
): Promise<void> {
  await makeStateFolder(paths);
  const lock = lockState(paths);
  // From before the API answers: whoever hears it may end it.
  const signalled = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  const controller = await start(paths, log, proxy);
  log(`controller ${process.pid} serves ${paths.socket}`);
  await Promise.race([signalled, controller.stopped]);
  await controller.close();
  await rm(paths.socket, { force: true });
  lock.release();
}

/** How long clients may find nobody listening after the data plane was killed, in ms. */
const KEEP_TABLES_EVERY = 1000;

interface Controller {
  /** resolves when the API has been told to stop */
  stopped: Promise<void>;
  close(): Promise<void>;
}

async function start(
  paths: StatePaths,
  log: (line: string) => void,
  proxy: ProxyEngine | undefined,
): Promise<Controller> {
  const store = sqliteStore(paths.store);
  const served = [...store.services().map(({ name }) => name), ...store.openRollouts().map((r) => r.service)];
  const dataPlane = await dataPlaneOf(paths, proxy, [...new Set(served)]);
  const artifacts = await ContentStore.open(paths.artifacts);
  const hypervisor = qemuHypervisor({ state: paths.root, artifactPath: (digest) => artifacts.path(digest) });
  const journaled = new EventEmitter().setMaxListeners(0);
  const monitor = new Monitor(hypervisor, httpProber(), systemClock, (service) => healthOf(store, service));
  const parts: EngineParts = {
    hypervisor,
    monitor,
    routing: new Routing(dataPlane, store),
    store,
    clock: systemClock,
    strategies,
    onJournal: (rollout) => journaled.emit('entry', rollout),
  };
  const run = ({ id, service }: Rollout) => {
    // What the engine did not foresee is like a crash of the controller: it takes up again what it finds.
    pRetry(() => runRollout(parts, id), { retries: 5, minTimeout: 1000 }).then(
      ({ state }) => log(`rollout ${id} of ${service} ended: ${state}`),
      (error: unknown) => log(`rollout ${id} of ${service} stands still: ${report(error).message}`),
    );
  };
  const deployments = new Deployments(parts, store, artifacts, run);

  const stop = new EventEmitter();
  const stopped = once(stop, 'stop').then(() => {});
  const api = await apiServer({
    state: paths.root,
    deployments,
    store,
    artifacts,
    hypervisor,
    journaled,
    stop: () => stop.emit('stop'),
  });
  const open = store.openRollouts();
  await listen(api, paths);

  // Only now: a controller that cannot start has set nothing going.
  void monitor.run();
  const keeper = setInterval(() => void keepTables(store, parts.routing, log), KEEP_TABLES_EVERY);
  for (const rollout of open) {
    log(`rollout ${rollout.id} of ${rollout.service} goes on`);
    store.append(rollout, systemClock.now(), { event: 'rollout-resumed', controller: process.pid });
    run(rollout);
  }
  return {
    stopped,
    close: async () => {
      monitor.stop();
      clearInterval(keeper);
      // A data plane without a service is of no use to anyone; with one, it goes on.
      if (store.services().length === 0 && store.openRollouts().length === 0) await dataPlane.stop();
      await api.close();
      await hypervisor.close();
      store.close();
    },
  };
}

/** A data plane that died is started again, and is given the tables that it had. */
async function keepTables({ services }: Store, routing: Routing, log: (line: string) => void): Promise<void> {
  for (const { name } of services()) {
    await routing
      .status(name)
      .catch((error: unknown) => log(`no routing for ${name}: ${report(error).message}`));
  }
}

/** The lock is held, so whatever has the socket's name is left over. */
async function listen(api: FastifyInstance, { socket }: StatePaths): Promise<void> {
  await rm(socket, { force: true });
  const before = process.umask(0o177);
  try {
    await api.listen({ path: socket });
  } finally {
    process.umask(before);
  }
  await chmod(socket, 0o600);
}

function healthOf(store: Store, service: string) {
  const open = store.openRollouts().find((rollout) => rollout.service === service);
  return open?.health ?? store.service(service)?.health ?? null;
}
