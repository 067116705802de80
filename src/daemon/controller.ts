import { EventEmitter, once } from 'node:events';
import { chmod, readdir, rename, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { ContentStore } from '../artifact/store.ts';
import { findUsers } from '../confinement.ts';
import type { Fence } from '../domain/fence.ts';
import { Monitor } from '../engine/monitor.ts';
import type { EngineParts } from '../engine/parts.ts';
import { Routing } from '../engine/routing.ts';
import { Supervisor, type SupervisorParts } from '../engine/supervisor.ts';
import { Templates } from '../engine/templates.ts';
import { Tidier } from '../engine/tidy.ts';
import { exitCodeOf, isHostTrouble, report, type UnideployError } from '../errors.ts';
import { hookRunner } from '../hooks/run.ts';
import { inspectRevision, qemuHypervisor } from '../hypervisor/qemu/index.ts';
import { measures } from '../measure/index.ts';
import { httpProber } from '../probe/http.ts';
import { httpTeller } from '../probe/tell.ts';
import type { DataPlane, ListenAddress } from '../proxy/port.ts';
import { Secrets } from '../secrets.ts';
import { SnapshotCatalogue } from '../snapshots/catalogue.ts';
import type { Store } from '../store/port.ts';
import { sqliteStore } from '../store/sqlite.ts';
import { veiledStore } from '../store/veiled.ts';
import { type ApiParts, apiServer } from './api.ts';
import { Collector } from './collector.ts';
import { Copies } from './copies.ts';
import { dataPlaneOf } from './data-plane.ts';
import { DataVolumes } from './data-volumes.ts';
import { Debris } from './debris.ts';
import { Deployments } from './deployments.ts';
import { fencedBy } from './fenced.ts';
import { type HeldLease, takeLease } from './lease.ts';
import { boundLogs } from './logs.ts';
import { chooseMetricsAddress, metricsAddressOf } from './metrics-address.ts';
import { openMetrics } from './metrics-listener.ts';
import { openStore, restoredReport } from './open-store.ts';
import { Orders } from './orders.ts';
import { makeStateFolder, type StatePaths } from './paths.ts';
import type { ProxyEngine } from './proxy-engine.ts';
import { openRemoteApi, type RemoteAddress } from './remote-api.ts';
import { Runs } from './runs.ts';
import { Services } from './services.ts';
import { Snapshots } from './snapshots.ts';
import { strategyOf } from './strategy-of.ts';
import { pastStuckWriters } from './stuck-writer.ts';
import { keepTime, systemClock } from './system-clock.ts';
import { Troubles } from './troubles.ts';
import { VolumeCopies } from './volume-copies.ts';

/**
 * Runs the controller of one state until it is told to stop. It takes over what it finds: open rollouts go on, guests and
 * data plane are adopted; when it stops, or is killed, both go on without it.
 * What `choice` does not say is as the state's last controller had it.
 * @param onLost has to end the process at once: another controller has taken over (UD_FENCED)
 * @throws UD_CONTROLLER_RUNNING, UD_STATE_BUSY, UD_STATE_PATH, UD_STATE_DAMAGED, UD_USAGE, UD_TOOL_MISSING, UD_PORT_IN_USE;
 *   UD_DISK_FULL and the like
 */
export async function serve(
  paths: StatePaths,
  print: (line: string) => void,
  choice: Choice,
  onLost: (error: UnideployError) => void,
): Promise<void> {
  const secrets = new Secrets();
  const log = (line: string) => print(secrets.veil(line));
  await makeStateFolder(paths);
  const lease = await takeLease(paths, { log, onLost });
  surviveHostTrouble(log);
  // From before the API answers: whoever hears it may end it.
  const signalled = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  const controller = await start(paths, log, choice, { lease, secrets });
  log(`controller ${process.pid} serves ${paths.socket}`);
  await Promise.race([signalled, controller.stopped]);
  await controller.close();
  // Still the holder, so what has the socket's name is its own.
  lease.fence.check();
  await rm(paths.socket, { force: true });
  lease.release();
}

/** What the state folder remembers for later controllers. */
export interface Choice {
  /** the data plane's engine */
  proxy?: ProxyEngine;
  /** where the figures are served to Prometheus */
  metrics?: ListenAddress | 'off';
  /** where clients elsewhere are listened to; not remembered */
  api?: RemoteAddress;
}

/** How long clients may find nobody listening after the data plane was killed, in ms. */
const KEEP_TABLES_EVERY = 1000;
/** How often artifacts are collected, in ms. */
const COLLECT_EVERY = 3_600_000;

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
  { proxy, metrics: asked, api: elsewhere }: Choice,
  { lease, secrets }: { lease: HeldLease; secrets: Secrets },
): Promise<Controller> {
  const { fence } = lease;
  const troubles = new Troubles(log);
  const { store: opened, restored } = await openStore(paths, {
    now: systemClock.now(),
    open: (file) => pastStuckWriters(() => veiledStore(sqliteStore(file, fence), secrets), lease, log),
  });
  const store = fencedBy(fence, opened);
  if (restored) troubles.tell('the state', restoredReport(paths, restored));
  const open = store.openRollouts();
  await troubles.during('the clock', () => keepTime(paths, systemClock, open.length > 0));
  const copies = new Copies(store, paths.copy, { troubles, now: () => performance.now() });
  const served = [...store.services().map(({ name }) => name), ...store.openRollouts().map((r) => r.service)];
  const dataPlane = fencedBy(fence, await dataPlaneOf(paths, fence, proxy, [...new Set(served)]));
  // What is put in, and above all what is collected: a late controller knows nothing of what is in use now.
  const artifacts = fencedBy(fence, await ContentStore.open(paths.artifacts));
  const users = await findUsers();
  if ('why' in users) log(`guests run as the controller's own user: ${users.why}`);
  const kept = { state: paths.root, artifactPath: (digest: string) => artifacts.path(digest), users };
  const hypervisor = fencedBy(fence, qemuHypervisor({ ...kept, fence }));
  const journaled = new EventEmitter().setMaxListeners(0);
  const prober = httpProber();
  const monitor = new Monitor(hypervisor, prober, systemClock, (service) => healthOf(store, service));
  const atOnce = 2 * availableParallelism();
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
    hooks: fencedBy(fence, hookRunner()),
    tell: async (...words) => {
      fence.check();
      await httpTeller(...words);
    },
    measures: measures({ dataPlane }),
    templates: new Templates({ hypervisor, monitor, prober, clock: systemClock, atOnce }),
    onJournal,
    onOrder: (rollout, listener) => {
      const hear = (id: number) => id === rollout && listener();
      journaled.on('entry', hear);
      return () => journaled.off('entry', hear);
    },
  };
  const runs = new Runs(parts, log, troubles);
  const tidier = new Tidier({ hypervisor, routing, store, clock: systemClock, onJournal });
  const catalogue = new SnapshotCatalogue(paths.snapshots);
  const collector = new Collector({ store, artifacts, hypervisor, snapshots: catalogue, clock: systemClock });
  const snapshots = new Snapshots({ catalogue, hypervisor, store, fence, clock: systemClock });
  const debris = new Debris(paths, { hypervisor, dataPlane, store, log, now: () => performance.now() });
  const dataCopies = new VolumeCopies(paths.dataCopies, { ...parts, store, fence });
  await troubles.during('the copies of data volumes', () => dataCopies.tidy());
  const services = new Services(parts, store);
  const orders = new Orders(parts, store, services);
  const deployments = new Deployments(parts, {
    ...{ store, orders, runs, tidier },
    artifacts: {
      want: (digest) => artifacts.want(digest),
      verify: (digest) => artifacts.verify(digest),
      inspect: (spec) => inspectRevision(spec, kept),
      snapshots: catalogue,
    },
  });

  const repair: SupervisorParts['repair'] = async (name, sick) => await deployments.repair(name, sick);
  const supervisor = new Supervisor({ ...parts, store, repair, log });

  const metrics = () => metricsOf(dataPlane, store);
  const prometheus = await servePrometheus(paths, asked, metrics, log);
  const stop = new EventEmitter();
  const stopped = once(stop, 'stop').then(() => {});
  const apiParts: ApiParts = {
    state: paths.root,
    deployments,
    data: new DataVolumes({ ...parts, store, orders, deployments }),
    orders,
    services,
    collector,
    snapshots,
    copies: dataCopies,
    store,
    artifacts,
    hypervisor,
    dataPlane,
    metrics,
    journaled,
    troubles: () => troubles.all(),
    leftovers: () => debris.find(),
    stop: () => stop.emit('stop'),
    log,
    secrets,
    fence,
  };
  const api = await apiServer(apiParts);
  const remote = elsewhere && (await openRemoteApi(apiParts, elsewhere, paths.tokens));
  await listen(api, paths, fence);
  if (remote) log(`clients elsewhere are listened to at ${remote.url}`);

  // Only now: a controller that cannot start has set nothing going.
  void monitor.run();
  void supervisor.run();
  const keeper = setInterval(() => {
    void troubles.during('the routing tables', () => keepTables(store, routing, log));
    void troubles.during('what is kept warm', () => tidier.look());
    void copies.look();
    void troubles.during('what is left over', () => debris.look());
  }, KEEP_TABLES_EVERY);
  const collecting = setInterval(() => void collector.tidy(log), COLLECT_EVERY);
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
      runs.leave();
      supervisor.stop();
      monitor.stop();
      clearInterval(keeper);
      clearInterval(collecting);
      clearInterval(bounding);
      // A data plane without a service is of no use to anyone; with one, it goes on.
      if (store.services().length === 0 && store.openRollouts().length === 0) await dataPlane.stop();
      await Promise.all([api.close(), remote?.close()]);
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

/**
 * The socket has a name of its own until it has the well-known one, in one step: whoever has that, left over or late, loses
 * it, and takes nothing away when it closes its own.
 */
async function listen(
  api: FastifyInstance,
  { root, socket }: StatePaths,
  { token, check }: Fence,
): Promise<void> {
  const own = `${socket}.${token}`;
  for (const name of await readdir(root))
    if (name.startsWith(`${basename(socket)}.`)) await rm(join(root, name), { force: true });
  const before = process.umask(0o177);
  try {
    await api.listen({ path: own });
  } finally {
    process.umask(before);
  }
  await chmod(own, 0o600);
  check();
  await rename(own, socket);
}

function healthOf(store: Store, service: string) {
  const open = store.openRollouts().find((rollout) => rollout.service === service);
  return open?.health ?? store.service(service)?.health ?? null;
}
