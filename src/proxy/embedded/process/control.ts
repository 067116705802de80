import { createServer } from 'node:http';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { Client, type Dispatcher } from 'undici';
import { z } from 'zod';
import { report, UnideployError } from '../../../errors.ts';
import { refuseNoRequest } from '../../../no-request.ts';
import { type ControlError, type Drained, TOKEN_HEADER } from '../../port.ts';
import type { Command, Reign } from './command.ts';
import { type Primary, Superseded } from './primary.ts';
import { sumOfDrains } from './sums.ts';

export interface Commands {
  /** called once the answer to POST /stop has been sent */
  stop: () => void;
  /** Puts a new primary into this one's place; resolves when it serves. */
  upgrade: (entry: string | undefined, reign: Reign) => Promise<{ pid: number }>;
}

/**
 * The control socket's HTTP API. A refusal is a `ControlError` with 400 (cannot be understood), 409 (refused) or 500.
 * What says no token is taken as an order of the oldest, and as a question of anybody.
 * After an upgrade, what still comes here (on connections that were open) is asked of the new primary.
 */
export function controlServer(
  primary: Primary,
  command: Command,
  socket: string,
  { stop, upgrade }: Commands,
): FastifyInstance {
  const app = fastify({
    forceCloseConnections: 'idle',
    // a call that came while this process is leaving is passed on, too
    return503OnClosing: false,
    // a table of some ten thousand routes
    bodyLimit: 16 << 20,
    // a name that is too long is refused by who looks for it, with a code
    routerOptions: { maxParamLength: 4096 },
    clientErrorHandler: refuseNoRequest(misused),
    frameworkErrors: (error, _request, reply) => {
      void (reply as FastifyReply).code(400).send({ error: misused(error.message) });
    },
    serverFactory: (handler) => createServer({ requestTimeout: 0 }, handler),
  });
  app.setErrorHandler(async (error, request, reply) => {
    if (error instanceof Superseded) return await passOn(socket, request, reply);
    // what the server itself cannot understand is no fault of ours
    const refusal =
      statusOf(error) < 500 && !(error instanceof UnideployError) ? misused(messageOf(error)) : error;
    const body: ControlError = { error: report(refusal) };
    return await reply.code(statusOf(error)).send(body);
  });
  app.setNotFoundHandler((request) => {
    throw misused(`the data plane has no ${request.method} ${request.url}`);
  });

  /** Every word of a newer controller counts, questions too. */
  const hear = ({ headers }: FastifyRequest) => command.hear(read(TOKEN, headers)[TOKEN_HEADER]);
  app.addHook('onRequest', async (request) => {
    if (request.headers[TOKEN_HEADER] !== undefined) hear(request);
  });

  app.get('/', () => {
    primary.expectInCommand();
    return { pid: process.pid };
  });
  app.get('/tables', () => primary.status());
  app.put('/tables/:service', (request) =>
    primary.apply(read(SERVICE, request.params).service, request.body, hear(request)),
  );
  app.delete('/tables/:service', async (request, reply) => {
    const { graceMs } = read(GRACE, request.query);
    await primary.remove(read(SERVICE, request.params).service, graceMs, hear(request));
    return reply.code(204).send();
  });
  app.get('/tables/:service/figures', (request) => primary.figures(read(SERVICE, request.params).service));
  app.get('/tables/:service/instances/:instance/drained', async (request, reply) => {
    const { service, instance } = read(INSTANCE, request.params);
    const { deadlineMs } = read(DEADLINE, request.query);
    const reign = hear(request);
    const gone = AbortSignal.any([goneSignal(reply), reign.over]);
    const end = performance.now() + deadlineMs;
    const here = await primary.drained(service, instance, deadlineMs, gone);
    reign.expect();
    if (!primary.superseded || gone.aborted) return here;
    // the new primary has taken requests of the instance since the drain began
    const url = `${request.url.split('?')[0]}?deadlineMs=${Math.max(0, Math.ceil(end - performance.now()))}`;
    const { status, text } = await ask(socket, {
      ...{ method: 'GET', path: url, signal: gone },
      headers: tokenOf(request),
    });
    if (status !== 200) return reply.code(status).type('application/json').send(text);
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
  app.post('/upgrade', (request) => upgrade(read(UPGRADE, request.body ?? {}).entry, hear(request)));
  app.post('/stop', (request, reply) => {
    primary.expectInCommand();
    hear(request);
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
      ? { headers: tokenOf(request) }
      : {
          body: JSON.stringify(body),
          headers: { ...tokenOf(request), 'content-type': 'application/json' },
        }),
  });
  return reply.code(status).type(type).send(text);
}

function tokenOf({ headers }: FastifyRequest): Record<string, string> {
  const token = headers[TOKEN_HEADER];
  return token === undefined ? {} : { [TOKEN_HEADER]: String(token) };
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function statusOf(error: unknown): number {
  if (error instanceof UnideployError) return error.code === 'UD_USAGE' ? 400 : 409;
  const { statusCode } = error as { statusCode?: number };
  return statusCode !== undefined && statusCode >= 400 ? statusCode : 500;
}

const milliseconds = z.coerce.number().int().min(0).max(2_147_483_647);
const TOKEN = z.object({ [TOKEN_HEADER]: z.coerce.number().int().min(0).default(0) });
const SERVICE = z.object({ service: z.string() });
const INSTANCE = z.object({ service: z.string(), instance: z.string() });
const GRACE = z.object({ graceMs: milliseconds.default(0) });
const DEADLINE = z.object({ deadlineMs: milliseconds });
const UPGRADE = z.object({ entry: z.string().min(1).optional() });
