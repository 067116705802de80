import { createServer } from 'node:http';
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { z } from 'zod';
import { report, UnideployError } from '../../errors.ts';
import type { ControlError } from '../port.ts';
import type { Plane } from './plane.ts';

/**
 * The control socket's HTTP API. A refusal is a `ControlError` with 400 (cannot be understood), 409 (refused) or 500.
 * `stop` is called once the answer to POST /stop has been sent.
 */
export function controlServer(plane: Plane, stop: () => void): FastifyInstance {
  const app = fastify({
    forceCloseConnections: true,
    // a table of some ten thousand routes
    bodyLimit: 16 << 20,
    serverFactory: (handler) => createServer({ requestTimeout: 0 }, handler),
  });
  app.setErrorHandler((error, _request, reply) => {
    const body: ControlError = { error: report(error) };
    return reply.code(statusOf(error)).send(body);
  });
  app.setNotFoundHandler((request) => {
    throw misused(`the data plane has no ${request.method} ${request.url}`);
  });

  app.get('/', () => ({ pid: process.pid }));
  app.get('/tables', () => plane.status());
  app.put('/tables/:service', (request) => plane.apply(read(SERVICE, request.params).service, request.body));
  app.delete('/tables/:service', async (request, reply) => {
    await plane.remove(read(SERVICE, request.params).service, read(GRACE, request.query).graceMs);
    return reply.code(204).send();
  });
  app.get('/tables/:service/instances/:instance/drained', (request, reply) => {
    const { service, instance } = read(INSTANCE, request.params);
    return plane.drained(service, instance, read(DEADLINE, request.query).deadlineMs, goneSignal(reply));
  });
  app.post('/stop', (_request, reply) => {
    reply.raw.once('close', stop);
    return reply.send({ pid: process.pid });
  });
  return app;
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
