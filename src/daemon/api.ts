import { type EventEmitter, on } from 'node:events';
import { Readable } from 'node:stream';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ContentStore } from '../artifact/store.ts';
import type { JournalEntry } from '../domain/journal.ts';
import type { Rollout } from '../domain/rollout.ts';
import { standing } from '../domain/standing.ts';
import type { Leftover } from '../engine/leftovers.ts';
import { type ErrorReport, report, UnideployError } from '../errors.ts';
import type { Hypervisor } from '../hypervisor/port.ts';
import type { DataPlane } from '../proxy/port.ts';
import type { Store } from '../store/port.ts';
import { VERSION } from '../version.ts';
import type { Deployments } from './deployments.ts';
import * as messages from './messages.ts';
import { METRICS_TYPE } from './metrics-listener.ts';
import type { Orders } from './orders.ts';
import type { Services } from './services.ts';

export interface ApiParts {
  state: string;
  deployments: Deployments;
  orders: Orders;
  services: Services;
  store: Store;
  artifacts: ContentStore;
  hypervisor: Hypervisor;
  dataPlane: Pick<DataPlane, 'upgrade'>;
  metrics: () => Promise<string>;
  /** emits `entry` with a rollout's id after each new journal entry */
  journaled: EventEmitter;
  /** what keeps the controller from its work now */
  troubles: () => ErrorReport[];
  /** what nobody owns */
  leftovers: () => Promise<Pick<Leftover, 'why'>[]>;
  /** ends this process, soon */
  stop: () => void;
}

/** Longest body of a request that is not an artifact, bytes. */
const BODY_LIMIT = 1 << 20;
/** Longest name that is looked for, and not found, rather than taken for a mistake in the protocol. */
const LONGEST_NAME = 4096;

const byService = z.object({ service: z.string() });
const byNewService = z.object({ service: messages.serviceName });
const byDigest = z.object({ digest: messages.artifactDigest });
const byRollout = z.object({ id: z.coerce.number().int().positive() });
const consoleQuery = z.object({
  lines: z.coerce.number().int().min(1).max(10_000).default(100),
  follow: z.literal('1').optional(),
});
const byInstance = z.object({ instance: z.string() });

/** The controller's HTTP API. Errors are `{error: {code, message, next}}`. */
export async function apiServer(parts: ApiParts): Promise<FastifyInstance> {
  const { deployments, orders, services, store, artifacts, hypervisor, journaled } = parts;
  const api = Fastify({
    bodyLimit: BODY_LIMIT,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: LONGEST_NAME },
  });
  api.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));
  api.setErrorHandler((error, _request, reply) => {
    const ours = error instanceof UnideployError;
    return reply.code(ours ? 422 : 500).send({ error: report(error) });
  });

  api.setNotFoundHandler(({ method, url }) => {
    const message = `the controller knows no ${method} ${url}`;
    throw new UnideployError('UD_REQUEST', message, 'use the unideploy command of the same version');
  });

  api.get(
    '/ping',
    (): messages.Pong => ({
      version: VERSION,
      pid: process.pid,
      state: parts.state,
      troubles: parts.troubles(),
    }),
  );
  api.post('/stop', async () => {
    if (names(store).length > 0) return { stopped: false };
    parts.stop();
    return { stopped: true };
  });

  api.head('/artifacts/:digest', async (request, reply) => {
    const { digest } = checked(byDigest, request.params);
    return reply.code((await artifacts.has(digest)) ? 200 : 404).send();
  });
  api.put('/artifacts/:digest', { bodyLimit: Number.MAX_SAFE_INTEGER }, async (request, reply) => {
    const { digest } = checked(byDigest, request.params);
    await artifacts.put(request.body as Readable, digest);
    return reply.code(204).send();
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
  for (const verb of ['down', 'restart', 'retry'] as const)
    api.post(`/services/:service/${verb}`, (request) =>
      deployments[verb](serviceOf(request), checked(messages.performed, request.body).performer),
    );

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
    if (!goOn) return past.map((line) => `${line}\n`).join('');
    const end = new AbortController();
    reply.raw.once('close', () => end.abort());
    return Readable.from(withLineEnds(hypervisor.followConsole(instance, lines, end.signal)), {
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

async function* withLineEnds(lines: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const line of lines) yield `${line}\n`;
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
  throw new UnideployError(
    'UD_REQUEST',
    `${where}: ${issue?.message}`,
    'use the unideploy command of the same version',
  );
}
