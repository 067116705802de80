import { type EventEmitter, on } from 'node:events';
import { Readable } from 'node:stream';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ContentStore } from '../artifact/store.ts';
import { type Fence, UNFENCED } from '../domain/fence.ts';
import type { JournalEntry } from '../domain/journal.ts';
import type { Rollout } from '../domain/rollout.ts';
import { standing } from '../domain/standing.ts';
import type { Leftover } from '../engine/leftovers.ts';
import type { ErrorReport } from '../errors.ts';
import type { Hypervisor } from '../hypervisor/port.ts';
import { refuseNoRequest } from '../no-request.ts';
import type { DataPlane } from '../proxy/port.ts';
import { Secrets } from '../secrets.ts';
import type { Store } from '../store/port.ts';
import { VERSION } from '../version.ts';
import { answerErrors, type Discretion, notUnderstood, toldOf } from './api-errors.ts';
import { guard } from './api-guard.ts';
import { scopeOf } from './api-scopes.ts';
import type { Collector } from './collector.ts';
import type { DataVolumes } from './data-volumes.ts';
import type { Deployments } from './deployments.ts';
import { JobStreams } from './job-stream.ts';
import * as messages from './messages.ts';
import { METRICS_TYPE } from './metrics-listener.ts';
import type { Orders } from './orders.ts';
import type { Services } from './services.ts';
import type { Snapshots } from './snapshots.ts';
import type { VolumeCopies } from './volume-copies.ts';

export interface ApiParts {
  state: string;
  deployments: Deployments;
  data: DataVolumes;
  orders: Orders;
  services: Services;
  collector: Pick<Collector, 'collect' | 'remove'>;
  snapshots: Snapshots;
  /** of data volumes */
  copies: Pick<VolumeCopies, 'list' | 'make' | 'read' | 'remove' | 'restore'>;
  store: Store;
  artifacts: ContentStore;
  hypervisor: Hypervisor;
  dataPlane: Pick<DataPlane, 'upgrade'>;
  metrics: () => Promise<string>;
  /** emits `entry` with a rollout's id after each new journal entry */
  journaled: EventEmitter;
  /** of the controller that answers; left out: there is no other */
  fence?: Fence;
  /** what keeps the controller from its work now */
  troubles: () => ErrorReport[];
  /** what nobody owns */
  leftovers: () => Promise<Pick<Leftover, 'why'>[]>;
  /** ends this process, soon */
  stop: () => void;
  /** takes what clients are not told; left out: nobody hears it */
  log?: (line: string) => void;
  /** what no answer may say; left out: nothing is known to be secret */
  secrets?: Secrets;
}

/** Longest body of a request that is not an artifact, bytes. */
const BODY_LIMIT = 1 << 20;
/** Longest name that is looked for, and not found, rather than taken for a mistake in the protocol. */
const LONGEST_NAME = 4096;

const byService = z.object({ service: z.string() });
const byNewService = z.object({ service: messages.serviceName });
const byData = z.object({ service: z.string(), volume: z.string() });
const byDigest = z.object({ digest: messages.artifactDigest });
const byCopy = z.object({ service: z.string(), volume: z.string(), copy: z.string() });
const byRollout = z.object({ id: z.coerce.number().int().positive() });
const consoleQuery = z.object({
  lines: z.coerce.number().int().min(1).max(10_000).default(100),
  follow: z.literal('1').optional(),
});
const byInstance = z.object({ instance: z.string() });

/** What the API of clients elsewhere needs besides. */
export interface Remote {
  /** PEM */
  cert: string;
  key: string;
  /** folder of the tokens */
  tokens: string;
  now: () => number;
}

/**
 * The controller's HTTP API. Errors are `{error: {code, message, next}}`.
 *
 * @param remote null: for whoever can open its socket; else over TLS, for whoever has a token
 */
export async function apiServer(parts: ApiParts, remote: Remote | null = null): Promise<FastifyInstance> {
  const { deployments, data, orders, services, store, artifacts, hypervisor, journaled } = parts;
  const { veil, veilAll } = parts.secrets ?? new Secrets({});
  const api = Fastify({
    bodyLimit: BODY_LIMIT,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: LONGEST_NAME },
    clientErrorHandler: refuseNoRequest(notUnderstood),
    frameworkErrors: (error, _request, reply) => {
      void (reply as FastifyReply).code(400).send({ error: notUnderstood(error.message).toJSON() });
    },
    ...(remote && { https: { cert: remote.cert, key: remote.key, minVersion: 'TLSv1.2' } }),
  }) as FastifyInstance;
  api.addHook('onRoute', ({ method, url }) => {
    for (const each of [method].flat()) scopeOf(each, url);
  });
  const { fence = UNFENCED } = parts;
  api.addHook('onRequest', async () => fence.check());
  if (remote) guard(api, remote.tokens, remote.now);
  api.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));
  api.addHook('preSerialization', async (_request, _reply, payload) => veilAll(payload));
  const discretion: Discretion = { log: parts.log ?? (() => {}), hidden: remote && parts.state };
  answerErrors(api, discretion);
  const jobs = new JobStreams({ tell: (error) => toldOf(error, discretion), veilAll });
  // Before the connections are cut: what the controller is asked to do ends with it, in order.
  api.addHook('preClose', () => jobs.close());

  api.setNotFoundHandler(({ method, url }) => {
    throw notUnderstood(`the controller knows no ${method} ${url}`);
  });

  api.get(
    '/ping',
    (): messages.Pong => ({
      ...{ version: VERSION, pid: process.pid, troubles: parts.troubles() },
      state: remote ? '' : parts.state,
    }),
  );
  api.post('/stop', async () => {
    if (names(store).length > 0) return { stopped: false };
    parts.stop();
    return { stopped: true };
  });

  api.head('/artifacts/:digest', async (request, reply) => {
    const { digest } = checked(byDigest, request.params);
    return reply.code((await artifacts.want(digest)) ? 200 : 404).send();
  });
  api.get('/artifacts/:digest', { exposeHeadRoute: false }, async (request, reply) => {
    const { digest } = checked(byDigest, request.params);
    const file = await artifacts.read(digest);
    return reply.type('application/octet-stream').header('content-length', file.size).send(file.bytes);
  });
  api.put('/artifacts/:digest', { bodyLimit: Number.MAX_SAFE_INTEGER }, async (request, reply) => {
    const { digest } = checked(byDigest, request.params);
    if (!(request.body instanceof Readable))
      throw notUnderstood('an artifact comes as application/octet-stream');
    await artifacts.put(request.body, digest);
    return reply.code(204).send();
  });

  api.delete('/artifacts/:digest', async (request, reply) => {
    const { digest } = checked(byDigest, request.params);
    await parts.collector.remove(digest);
    return reply.code(204).send();
  });
  api.post('/artifacts/collect', (request) => {
    const { unusedFor, dryRun } = checked(messages.collectRequest, request.body);
    return parts.collector.collect(unusedFor, dryRun);
  });

  const shown = async (name: string): Promise<messages.ShownService> => {
    const status = await services.status(name);
    return { ...status, standing: status.open && standing(store.journal(status.open.id, 0)) };
  };
  api.get('/services', async () => await Promise.all(names(store).map(shown)));
  api.get('/services/:service', (request) => shown(serviceOf(request)));
  api.get('/services/:service/history', (request) => services.history(serviceOf(request)));
  api.get('/services/:service/audit', (request) => services.audit(serviceOf(request)));
  api.post('/services/:service/rollouts', (request) => {
    const { service } = checked(byNewService, request.params);
    return deployments.deploy(service, checked(messages.deployRequest, request.body));
  });
  api.post('/services/:service/plan', (request) => {
    const { service } = checked(byNewService, request.params);
    return deployments.plan(service, checked(messages.deployRequest, request.body));
  });
  api.post('/services/:service/rollback', (request) => {
    const { to, performer } = checked(messages.rollbackRequest, request.body);
    return deployments.rollback(serviceOf(request), to, performer);
  });
  api.post('/services/:service/scale', (request) => {
    const { replicas, performer } = checked(messages.scaleRequest, request.body);
    return deployments.scale(serviceOf(request), replicas, performer);
  });
  api.post('/services/:service/pin', (request) => {
    const { revision, pinned, performer } = checked(messages.pinRequest, request.body);
    return deployments.pin(serviceOf(request), revision, pinned ? performer : null);
  });
  for (const verb of ['down', 'restart', 'retry'] as const)
    api.post(`/services/:service/${verb}`, (request) =>
      deployments[verb](serviceOf(request), checked(messages.performed, request.body).performer),
    );

  const byId = z.object({ service: messages.serviceName, snapshot: z.string() });
  api.get('/services/:service/snapshots', (request) =>
    parts.snapshots.list(checked(byNewService, request.params).service),
  );
  api.post('/services/:service/snapshots', (request, reply) => {
    const service = serviceOf(request);
    const order = checked(messages.takeRequest, request.body);
    return jobs.answer(reply, (tell, signal) => parts.snapshots.create(service, order, tell, signal));
  });
  api.post('/services/:service/snapshots/:snapshot/restore', (request) => {
    const { service, snapshot } = checked(byId, request.params);
    const { replaces, performer } = checked(messages.restoreRequest, request.body);
    return deployments.restore(service, snapshot, replaces, performer);
  });
  api.delete('/services/:service/snapshots/:snapshot', async (request, reply) => {
    const { service, snapshot } = checked(byId, request.params);
    await parts.snapshots.remove(service, snapshot);
    return reply.code(204).send();
  });

  /** Gives somebody's word to the rollout under way; the journal is looked at first, so that none of what follows is missed. */
  const order = async (
    service: string,
    give: () => Promise<Rollout | null> | Rollout,
  ): Promise<messages.Ordered> => {
    const open = store.openRollouts().find((rollout) => rollout.service === service);
    const journal = open ? store.journal(open.id, 0) : [];
    const rollout = await give();
    return { rollout, standing: standing(journal), after: journal.at(-1)?.seq ?? 0 };
  };
  api.post('/services/:service/promote', (request) => {
    const service = serviceOf(request);
    const { full, performer } = checked(messages.promoteRequest, request.body);
    return order(service, () => orders.promote(service, full, performer));
  });
  for (const verb of ['pause', 'resume'] as const)
    api.post(`/services/:service/${verb}`, (request) => {
      const service = serviceOf(request);
      const { performer } = checked(messages.performed, request.body);
      return order(service, () => orders[verb](service, performer));
    });
  api.post('/services/:service/abort', (request) => {
    const service = serviceOf(request);
    const { performer, rollout } = checked(messages.abortRequest, request.body);
    const isOver = rollout !== null && store.rollout(rollout)?.state !== 'open';
    return order(service, async () => (isOver ? null : await orders.abort(service, performer)));
  });

  api.get('/data', () => hypervisor.dataVolumes());
  const dataOf = (request: FastifyRequest) => checked(byData, request.params);
  api.post('/services/:service/data/:volume/snapshot', (request) => {
    const { service, volume } = dataOf(request);
    const { snapshot, performer } = checked(messages.keepRequest, request.body);
    return data.snapshot(service, volume, snapshot, performer);
  });
  api.post('/services/:service/data/:volume/revert', (request) => {
    const { service, volume } = dataOf(request);
    const { snapshot, performer } = checked(messages.keptRequest, request.body);
    return data.revert(service, volume, snapshot, performer);
  });
  api.post('/services/:service/data/:volume/forget', async (request, reply) => {
    const { service, volume } = dataOf(request);
    const { snapshot, performer } = checked(messages.keptRequest, request.body);
    await data.forget(service, volume, snapshot, performer);
    return reply.code(204).send();
  });
  api.post('/services/:service/data/:volume/grow', async (request, reply) => {
    const { service, volume } = dataOf(request);
    const { size, performer } = checked(messages.growRequest, request.body);
    await data.grow(service, volume, size, performer);
    return reply.code(204).send();
  });
  api.post('/services/:service/data/:volume/remove', async (request, reply) => {
    const { service, volume } = dataOf(request);
    await data.remove(service, volume, checked(messages.performed, request.body).performer);
    return reply.code(204).send();
  });

  api.get('/services/:service/copies', (request) => parts.copies.list(serviceOf(request)));
  api.post('/services/:service/data/:volume/copies', (request, reply) => {
    const { service, volume } = dataOf(request);
    const wish = checked(messages.copyRequest, request.body);
    return jobs.answer(reply, (report, signal) => parts.copies.make(service, volume, wish, report, signal));
  });
  const copyOf = (request: FastifyRequest) => checked(byCopy, request.params);
  api.get(
    '/services/:service/data/:volume/copies/:copy',
    { exposeHeadRoute: false },
    async (request, reply) => {
      const { service, volume, copy } = copyOf(request);
      const { bytes, size } = await parts.copies.read(service, volume, copy);
      return reply.type('application/octet-stream').header('content-length', size).send(bytes);
    },
  );
  api.post('/services/:service/data/:volume/copies/:copy/remove', async (request, reply) => {
    const { service, volume, copy } = copyOf(request);
    await parts.copies.remove(service, volume, copy, checked(messages.performed, request.body).performer);
    return reply.code(204).send();
  });
  api.post('/services/:service/data/:volume/copies/:copy/restore', async (request, reply) => {
    const { service, volume, copy } = copyOf(request);
    await parts.copies.restore(service, volume, copy, checked(messages.performed, request.body).performer);
    return reply.code(204).send();
  });

  api.post('/proxy/upgrade', async () => {
    await parts.dataPlane.upgrade();
    return {};
  });
  api.get('/leftovers', async () => (await parts.leftovers()).map(({ why }) => why));
  api.get('/metrics', async (_request, reply) => reply.type(METRICS_TYPE).send(await parts.metrics()));

  api.get('/rollouts/:id/journal', (request, reply) => {
    const { id } = checked(byRollout, request.params);
    const { after } = checked(z.object({ after: z.coerce.number().int().min(0).default(0) }), request.query);
    const lines = Readable.from(follow(store, journaled, id, after), { objectMode: false });
    return reply.type('application/x-ndjson').send(lines);
  });
  api.get('/instances/:instance/console', async (request, reply) => {
    const { instance } = checked(byInstance, request.params);
    const { lines, follow: goOn } = checked(consoleQuery, request.query);
    const past = await hypervisor.console(instance, lines);
    reply.type('text/plain');
    if (!goOn) return past.map((line) => `${veil(line)}\n`).join('');
    const end = new AbortController();
    reply.raw.once('close', () => end.abort());
    return Readable.from(withLineEnds(hypervisor.followConsole(instance, lines, end.signal), veil), {
      objectMode: false,
    });
  });
  return api;
}

/** A rollout's journal from `after` on, as JSON lines, to its last entry. */
async function* follow(
  store: Store,
  journaled: EventEmitter,
  id: number,
  after: number,
): AsyncGenerator<string> {
  const end = new AbortController();
  const entries = on(journaled, 'entry', { signal: end.signal });
  let position = after;
  const unread = (): JournalEntry[] => {
    const found = store.journal(id, position);
    position = found.at(-1)?.seq ?? position;
    return found;
  };
  try {
    for (;;) {
      const found = unread();
      if (found.length > 0) yield found.map((entry) => `${JSON.stringify(entry)}\n`).join('');
      if (store.rollout(id)?.state !== 'open') {
        const rest = unread();
        if (rest.length > 0) yield rest.map((entry) => `${JSON.stringify(entry)}\n`).join('');
        return;
      }
      await entries.next();
    }
  } finally {
    end.abort();
    await entries.return?.();
  }
}

async function* withLineEnds(
  lines: AsyncIterable<string>,
  veil: (line: string) => string,
): AsyncGenerator<string> {
  for await (const line of lines) yield `${veil(line)}\n`;
}

/** Services that run, and those whose first rollout is under way. */
function names(store: Store): string[] {
  return [
    ...new Set([...store.services().map(({ name }) => name), ...store.openRollouts().map((r) => r.service)]),
  ];
}

function serviceOf({ params }: FastifyRequest): string {
  return checked(byService, params).service;
}

function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = issue?.path.join('.') || 'request';
  throw notUnderstood(`${where}: ${issue?.message}`);
}
