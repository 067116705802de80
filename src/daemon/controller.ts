import { EventEmitter, once } from 'node:events';
import { chmod, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { ContentStore } from '../artifact/store.ts';
import type { EngineParts } from '../engine/engine.ts';
import { Monitor } from '../engine/monitor.ts';
import { Routing } from '../engine/routing.ts';
import { Tidier } from '../engine/tidy.ts';
import { exitCodeOf, isHostTrouble, report } from '../errors.ts';
import { hookRunner } from '../hooks/run.ts';
import { qemuHypervisor } from '../hypervisor/qemu/index.ts';
import { measures } from '../measure/index.ts';
import { httpProber } from '../probe/http.ts';
import type { DataPlane, ListenAddress } from '../proxy/port.ts';
import type { Store } from '../store/port.ts';
import { apiServer } from './api.ts';
import { Copies } from './copies.ts';
import { dataPlaneOf } from './data-plane.ts';
import { Debris } from './debris.ts';
import { Deployments } from './deployments.ts';
import { lockState } from './lock.ts';
import { boundLogs } from './logs.ts';
import { chooseMetricsAddress, metricsAddressOf } from './metrics-address.ts';
import { openMetrics } from './metrics-listener.ts';
import { openStore, restoredReport } from './open-store.ts';
import { Orders } from './orders.ts';
import { makeStateFolder, type StatePaths } from './paths.ts';
import type { ProxyEngine } from './proxy-engine.ts';
import { Runs } from './runs.ts';
import { Services } from './services.ts';
import { strategyOf } from './strategy-of.ts';
import { keepTime, systemClock } from './system-clock.ts';
import { Troubles } from './troubles.ts';

/**
 * Runs the controller of one state until it is told to stop. It takes over what it finds: open rollouts go on, guests and
 * data plane are adopted; when it stops, or is killed, both go on without it.
 * What `choice` does not say is as the state's last controller had it.
 * @throws UD_CONTROLLER_RUNNING, UD_STATE_PATH, UD_STATE_DAMAGED, UD_USAGE, UD_TOOL_MISSING, UD_PORT_IN_USE; UD_DISK_FULL and the like
 */
export async function serve(paths: StatePaths, log: (line: string) => void, choice: Choice): Promise<void> {
  await makeStateFolder(paths);
  const lock = lockState(paths);
  surviveHostTrouble(log);
  // From before the API answers: whoever hears it may end it.
  const signalled = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  const controller = await start(paths, log, choice);
  log(`controller ${process.pid} serves ${paths.socket}`);
  await Promise.race([signalled, controller.stopped]);
  await controller.close();
  await rm(paths.socket, { force: true });
  lock.release();
}

/** What the state folder remembers for later controllers. */
export interface Choice {
  /** the data plane's engine */
  proxy?: ProxyEngine;
  /** where the figures are served to Prometheus */
  metrics?: ListenAddress | 'off';
}

/** How long clients may find nobody listening after the data plane was killed, in ms. */
const KEEP_TABLES_EVERY = 1000;

/** Between two looks at how long the logs are, in ms. */
const BOUND_LOGS_EVERY = 10_000;

interface Controller {
  /** resolves when the API has been told to stop */
  stopped: Promise<void>;
  close(): Promise<void>;
}

async function start(
  paths: StatePaths,
  log: (line: string) => void,
  { proxy, metrics: asked }: Choice,
): Promise<Controller> {
  const troubles = new Troubles(log);
  const { store, restored } = await openStore(paths, { now: systemClock.now() });
  if (restored) troubles.tell('the state', restoredReport(paths, restored));
  const open = store.openRollouts();
  await troubles.during('the clock', () => keepTime(paths, systemClock, open.length > 0));
  const copies = new Copies(store, paths.copy, { troubles, now: () => performance.now() });
  const served = [...store.services().map(({ name }) => name), ...store.openRollouts().map((r) => r.service)];
  const dataPlane = await dataPlaneOf(paths, proxy, [...new Set(served)]);
  const artifacts = await ContentStore.open(paths.artifacts);
  const hypervisor = qemuHypervisor({ state: paths.root, artifactPath: (digest) => artifacts.path(digest) });
  const journaled = new EventEmitter().setMaxListeners(0);
  const monitor = new Monitor(hypervisor, httpProber(), systemClock, (service) => healthOf(store, service));
  const onJournal = (rollout: number) => {
    copies.heard(rollout);
    journaled.emit('entry', rollout);
  };
  const routing = new Routing(dataPlane, store);
  const parts: EngineParts = {
    hypervisor,
    monitor,
    routing,
    store,
    clock: systemClock,
    strategyOf,
    hooks: hookRunner(),
    measures: measures({ dataPlane }),
    onJournal,
    onOrder: (rollout, listener) => {
      const hear = (id: number) => id === rollout && listener();
      journaled.on('entry', hear);
      return () => journaled.off('entry', hear);
    },
  };
  const runs = new Runs(parts, log, troubles);
  const tidier = new Tidier({ hypervisor, routing, store, clock: systemClock, onJournal });
  const debris = new Debris(paths, { hypervisor, dataPlane, store, log, now: () => performance.now() });
  const services = new Services(parts, store);
  const orders = new Orders(parts, store, services);
  const deployments = new Deployments(parts, { store, artifacts, orders, runs, tidier });

  const metrics = () => metricsOf(dataPlane, store);
  const prometheus = await servePrometheus(paths, asked, metrics, log);
  const stop = new EventEmitter();
  const stopped = once(stop, 'stop').then(() => {});
  const api = await apiServer({
    state: paths.root,
    deployments,
    orders,
    services,
    store,
    artifacts,
    hypervisor,
    dataPlane,
    metrics,
    journaled,
    troubles: () => troubles.all(),
    leftovers: () => debris.find(),
    stop: () => stop.emit('stop'),
  });
  await listen(api, paths);

  // Only now: a controller that cannot start has set nothing going.
  void monitor.run();
  const keeper = setInterval(() => {
    void troubles.during('the routing tables', () => keepTables(store, routing, log));
    void troubles.during('what is kept warm', () => tidier.look());
    void copies.look();
    void troubles.during('what is left over', () => debris.look());
  }, KEEP_TABLES_EVERY);
  const bounding = setInterval(
    () => void troubles.during('the logs', () => boundLogs(paths)),
    BOUND_LOGS_EVERY,
  );
  for (const rollout of open) {
    log(`rollout ${rollout.id} of ${rollout.service} goes on`);
    await troubles.during(`rollout ${rollout.id} of ${rollout.service}`, () => {
      store.append(rollout, systemClock.now(), { event: 'rollout-resumed', controller: process.pid });
    });
    runs.start(rollout);
  }
  return {
    stopped,
    close: async () => {
      monitor.stop();
      clearInterval(keeper);
      clearInterval(bounding);
      // A data plane without a service is of no use to anyone; with one, it goes on.
      if (store.services().length === 0 && store.openRollouts().length === 0) await dataPlane.stop();
      await api.close();
      prometheus?.closeAllConnections();
      prometheus?.close();
      await hypervisor.close();
      store.close();
    },
  };
}

/** What nobody has caught, and is the host's trouble (a log that a full disk does not take), ends no controller. */
function surviveHostTrouble(log: (line: string) => void): void {
  process.stderr.on('error', () => {});
  let last = '';
  const caught = (error: unknown) => {
    const line = `${report(error).code}: ${report(error).message}`;
    if (line !== last) log(line);
    last = line;
    if (isHostTrouble(error)) return;
    if (error instanceof Error && error.stack) log(error.stack);
    process.exit(exitCodeOf(error));
  };
  process.on('uncaughtException', caught);
  process.on('unhandledRejection', caught);
}

/** A data plane that died is started again, and is given the tables that it had. */
async function keepTables({ services }: Store, routing: Routing, log: (line: string) => void): Promise<void> {
  for (const { name } of services()) {
    await routing
      .status(name)
      .catch((error: unknown) => log(`no routing for ${name}: ${report(error).message}`));
  }
}

/** A controller whose data plane serves nothing need not have one: there are no figures then. */
async function metricsOf(dataPlane: DataPlane, store: Store): Promise<string> {
  try {
    return await dataPlane.metrics();
  } catch (error) {
    if (store.services().length === 0) return '';
    throw error;
  }
}

/** An address that is asked for must work; one that is only remembered must not keep a controller from its work. */
async function servePrometheus(
  paths: StatePaths,
  asked: ListenAddress | 'off' | undefined,
  metrics: () => Promise<string>,
  log: (line: string) => void,
): Promise<Server | null> {
  if (asked === undefined) {
    const last = await metricsAddressOf(paths);
    if (last === 'off') return null;
    return await openMetrics(last, metrics).catch((error: unknown) => {
      log(report(error).message);
      return null;
    });
  }
  const server = asked === 'off' ? null : await openMetrics(asked, metrics);
  await chooseMetricsAddress(paths, asked);
  return server;
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
