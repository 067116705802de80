import { createServer } from 'node:http';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { Client, type Dispatcher } from 'undici';
import { z } from 'zod';
import { report, UnideployError } from '../../../errors.ts';
import type { ControlError, Drained } from '../../port.ts';
import { type Primary, Superseded } from './primary.ts';
import { sumOfDrains } from './sums.ts';

export interface Commands {
  /** called once the answer to POST /stop has been sent */
  stop: () => void;
  /** Puts a new primary into this one's place; resolves when it serves. */
  upgrade: (entry?: string) => Promise<{ pid: number }>;
}

/**
 * The control socket's HTTP API. A refusal is a `ControlError` with 400 (cannot be understood), 409 (refused) or 500.
 * After an upgrade, what still comes here (on connections that were open) is asked of the new primary.
 */
export function controlServer(
  primary: Primary,
  socket: string,
  { stop, upgrade }: Commands,
): FastifyInstance {
  const app = fastify({
    forceCloseConnections: 'idle',
    // a call that came while this process is leaving is passed on, too
    return503OnClosing: false,
    // a table of some ten thousand routes
    bodyLimit: 16 << 20,
    serverFactory: (handler) => createServer({ requestTimeout: 0 }, handler),
  });
  app.setErrorHandler(async (error, request, reply) => {
    if (error instanceof Superseded) return await passOn(socket, request, reply);
    const body: ControlError = { error: report(error) };
    return await reply.code(statusOf(error)).send(body);
  });
  app.setNotFoundHandler((request) => {
    throw misused(`the data plane has no ${request.method} ${request.url}`);
  });

  app.get('/', () => {
    primary.expectInCommand();
    return { pid: process.pid };
  });
  app.get('/tables', () => primary.status());
  app.put('/tables/:service', (request) =>
    primary.apply(read(SERVICE, request.params).service, request.body),
  );
  app.delete('/tables/:service', async (request, reply) => {
    await primary.remove(read(SERVICE, request.params).service, read(GRACE, request.query).graceMs);
    return reply.code(204).send();
  });
  app.get('/tables/:service/figures', (request) => primary.figures(read(SERVICE, request.params).service));
  app.get('/tables/:service/instances/:instance/drained', async (request, reply) => {
    const { service, instance } = read(INSTANCE, request.params);
    const { deadlineMs } = read(DEADLINE, request.query);
    const gone = goneSignal(reply);
    const end = performance.now() + deadlineMs;
    const here = await primary.drained(service, instance, deadlineMs, gone);
    if (!primary.superseded || gone.aborted) return here;
    // the new primary has taken requests of the instance since the drain began
    const url = `${request.url.split('?')[0]}?deadlineMs=${Math.max(0, end - performance.now())}`;
    const { text } = await ask(socket, { method: 'GET', path: url, signal: gone });
    return sumOfDrains([here, JSON.parse(text) as Drained]);
  });
  app.get('/metrics', async (_request, reply) => {
    // loaded when somebody asks: most data planes are never scraped
    const { CONTENT_TYPE, metricsText } = await import('../../metrics.ts');
    const tables = await primary.status();
    const services = await Promise.all(
      tables.map(async (status) => ({ status, figures: await primary.figures(status.service) })),
    );
    return reply.type(CONTENT_TYPE).send(await metricsText(services));
  });
  app.post('/upgrade', (request) => upgrade(read(UPGRADE, request.body ?? {}).entry));
  app.post('/stop', (_request, reply) => {
    primary.expectInCommand();
    reply.raw.once('close', stop);
    return reply.send({ pid: process.pid });
  });
  return app;
}

/** The same request, asked of the process that has the socket's name now. */
async function passOn(socket: string, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { method, url, body } = request;
  const { status, type, text } = await ask(socket, {
    method: method as Dispatcher.HttpMethod,
    path: url,
    signal: goneSignal(reply),
    ...(body === undefined || body === null
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  return reply.code(status).type(type).send(text);
}

/** By a connection for this request alone: the name may belong to yet another process next time. */
async function ask(socketPath: string, options: Dispatcher.RequestOptions) {
  const client = new Client('http://data-plane', { socketPath, headersTimeout: 0, bodyTimeout: 0 });
  try {
    const { statusCode, headers, body } = await client.request(options);
    return { status: statusCode, type: String(headers['content-type'] ?? ''), text: await body.text() };
  } finally {
    await client.close();
  }
}

/** Aborts when the caller goes away: a drain that nobody waits for must not cut anything at its deadline. */
function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  return gone.signal;
}

function read<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw misused(z.prettifyError(result.error).replaceAll(/\s+/g, ' '));
}

function misused(message: string): UnideployError {
  return new UnideployError(
    'UD_USAGE',
    message,
    'the controller and the data plane may be of different versions',
  );
}

function statusOf(error: unknown): number {
  if (error instanceof UnideployError) return error.code === 'UD_USAGE' ? 400 : 409;
  const { statusCode } = error as { statusCode?: number };
  return statusCode !== undefined && statusCode >= 400 ? statusCode : 500;
}

const milliseconds = z.coerce.number().int().min(0).max(2_147_483_647);
const SERVICE = z.object({ service: z.string() });
const INSTANCE = z.object({ service: z.string(), instance: z.string() });
const GRACE = z.object({ graceMs: milliseconds.default(0) });
const DEADLINE = z.object({ deadlineMs: milliseconds });
const UPGRADE = z.object({ entry: z.string().min(1).optional() });
