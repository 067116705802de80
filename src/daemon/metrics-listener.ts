import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { report, UnideployError } from '../errors.ts';
import type { ListenAddress } from '../proxy/port.ts';
import { writeAddress } from './metrics-address.ts';

/** Prometheus' text format, version 0.0.4. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Serves GET /metrics, and nothing else, to whoever can reach the address (UD_PORT_IN_USE). */
export async function openMetrics(address: ListenAddress, metrics: () => Promise<string>): Promise<Server> {
  const server = createServer(async (request, response) => {
    if (request.url?.split('?')[0] !== '/metrics' || !['GET', 'HEAD'].includes(request.method ?? '')) {
      response.writeHead(404).end();
      return;
    }
    try {
      const text = await metrics();
      response.writeHead(200, { 'content-type': METRICS_TYPE }).end(text);
    } catch (error) {
      response.writeHead(503, { 'content-type': 'text/plain' }).end(`${report(error).message}\n`);
    }
  });
  try {
    await once(server.listen({ host: address.host, port: address.port }), 'listening');
  } catch (error) {
    throw new UnideployError(
      'UD_PORT_IN_USE',
      `cannot serve metrics on ${writeAddress(address)}: ${(error as Error).message}`,
      'end what listens there, or choose another --metrics address',
      { cause: error },
    );
  }
  // a controller that cannot start for another reason ends all the same
  return server.unref();
}
