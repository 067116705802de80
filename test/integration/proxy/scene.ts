import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { connect, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { Plane } from '../../../src/proxy/embedded/plane.ts';
import type { Route, RoutingTable, TableStatus } from '../../../src/proxy/port.ts';
import { type Backend, revisionListener, startBackend } from '../../support/http/backend.ts';

/** A data plane for one test. */
export function scene(): Scene {
  const made = new Scene();
  onTestFinished(() => made.end());
  return made;
}

/** A backend for one test: one that answers with a revision, or with what the listener says. */
export async function backend(answer: string | RequestListener = '1'): Promise<Backend> {
  const made = await startBackend(typeof answer === 'string' ? revisionListener(answer) : answer);
  onTestFinished(() => made.kill());
  return made;
}

/** A data plane in this process with one service on it, on a real port. */
class Scene {
  readonly plane = new Plane();
  #version = 0;
  port = 0;

  /** Applies the next version of the table of `service`. */
  async apply(change: Partial<RoutingTable> & { routes: Route[] }): Promise<TableStatus> {
    const service = change.service ?? 'shop';
    const status = await this.plane.apply(service, {
      service,
      version: ++this.#version,
      listen: { host: '127.0.0.1', port: 0 },
      hold: false,
      preview: null,
      traffic: DEFAULT_TRAFFIC,
      ...change,
    });
    if (service === 'shop') this.port = status.listen.port;
    return status;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  status(service = 'shop'): TableStatus {
    const status = this.plane.status().find((table) => table.service === service);
    if (!status) throw new Error(`no table of ${service}`);
    return status;
  }

  inFlight(): number {
    return this.status().routes.reduce((sum, route) => sum + route.inFlight, 0);
  }

  async end(): Promise<void> {
    await this.plane.close(100);
  }
}

export function route(instance: string, backend: Pick<Backend, 'port'>, more: Partial<Route> = {}): Route {
  return { instance, revision: 1, host: '127.0.0.1', port: backend.port, weight: 100, ...more };
}

/** Waits until a condition holds; fails with `what` after `deadline` milliseconds. */
export async function until(what: string, holds: () => boolean, deadline = 5_000): Promise<void> {
  const end = Date.now() + deadline;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`not within ${deadline} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A bare connection that keeps all that it got. */
export interface Wire {
  socket: Socket;
  received: () => string;
  closed: () => boolean;
}

export async function openWire(port: number): Promise<Wire> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  let received = '';
  let closed = false;
  socket.on('data', (piece) => {
    received += piece.toString('latin1');
  });
  socket.on('close', () => {
    closed = true;
  });
  socket.on('error', () => undefined);
  return { socket, received: () => received, closed: () => closed };
}
