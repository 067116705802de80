import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createNetServer, type Server, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { DEFAULT_TRAFFIC, type TrafficPolicy } from '../../../src/domain/traffic.ts';
import type { InFlight, Instance } from '../../../src/proxy/embedded/instance.ts';
import { Service } from '../../../src/proxy/embedded/service.ts';
import { serveTcp } from '../../../src/proxy/embedded/tcp.ts';
import { upgrade } from '../../../src/proxy/embedded/upgrade.ts';
import type { Route, RoutingTable } from '../../../src/proxy/port.ts';

/** One service behind one port of a test, without the rest of the data plane. */
export class Edge {
  readonly service: Service;
  readonly clients = new Set<Socket>();
  port = 0;
  #version = 0;
  readonly server: Server;
  readonly #traffic: TrafficPolicy;

  private constructor(server: Server, traffic: TrafficPolicy) {
    this.server = server;
    this.#traffic = traffic;
    this.service = new Service(this.#table({}));
  }

  /** Serves WebSockets. */
  static async webSockets(routes: Route[]): Promise<Edge> {
    const server = createServer();
    const edge = new Edge(server, DEFAULT_TRAFFIC);
    server.on('upgrade', (req, socket, head) => upgrade(server, edge.service, req, socket as Socket, head));
    return edge.#open(routes);
  }

  /** Serves connections. */
  static async tcp(routes: Route[], traffic: Partial<TrafficPolicy> = {}): Promise<Edge> {
    const server = createNetServer();
    const edge = new Edge(server, { ...DEFAULT_TRAFFIC, mode: 'tcp', ...traffic });
    server.on('connection', (client) => serveTcp(edge.service, client));
    return edge.#open(routes);
  }

  apply(change: Partial<RoutingTable>): void {
    this.service.apply(this.#table(change));
  }

  /** What is in flight at the instances of a table with these routes. */
  inFlight(routes: Route[]): InFlight[] {
    const instances: Instance[] = this.service.instances.apply(routes);
    return instances.flatMap((instance) => [...instance.inFlight]);
  }

  #table(change: Partial<RoutingTable>): RoutingTable {
    return {
      service: 'shop',
      version: ++this.#version,
      listen: { host: '127.0.0.1', port: 0 },
      hold: false,
      preview: null,
      traffic: this.#traffic,
      routes: [],
      ...change,
    };
  }

  async #open(routes: Route[]): Promise<Edge> {
    const { server } = this;
    this.apply({ routes });
    server.on('connection', (socket: Socket) => {
      this.clients.add(socket);
      socket.once('close', () => this.clients.delete(socket));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    this.port = (server.address() as AddressInfo).port;
    onTestFinished(() => {
      server.close();
      this.service.end();
      this.service.instances.close();
      for (const socket of this.clients) socket.destroy();
    });
    return this;
  }
}
