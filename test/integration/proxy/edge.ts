import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { DEFAULT_TRAFFIC, type TrafficPolicy } from '../../../src/domain/traffic.ts';
import { ClientConnection, type ClientSite } from '../../../src/proxy/embedded/http1/client-connection.ts';
import type { InFlight, Instance } from '../../../src/proxy/embedded/instance.ts';
import { Service } from '../../../src/proxy/embedded/service.ts';
import { serveTcp } from '../../../src/proxy/embedded/tcp.ts';
import { Unserved } from '../../../src/proxy/embedded/unserved.ts';
import { upgrade } from '../../../src/proxy/embedded/websocket/upgrade.ts';
import type { Route, RoutingTable } from '../../../src/proxy/port.ts';

/** One service behind one port of a test, without the rest of the data plane. */
export class Edge {
  readonly service: Service;
  readonly clients = new Set<Socket>();
  port = 0;
  #version = 0;
  readonly server: Server = createServer();
  readonly #traffic: TrafficPolicy;

  private constructor(traffic: TrafficPolicy) {
    this.#traffic = traffic;
    this.service = new Service(this.#table({}), () => undefined);
  }

  /** Serves WebSockets. */
  static async webSockets(routes: Route[]): Promise<Edge> {
    const edge = new Edge(DEFAULT_TRAFFIC);
    const site: ClientSite = {
      longestHead: 16_384,
      timeouts: DEFAULT_TRAFFIC.timeouts,
      closing: false,
      exchange: (_head, downstream) => new Unserved(downstream, NO_PLAIN_REQUESTS),
      upgrade: (head, socket, ahead) => upgrade(edge.service, head, socket, ahead),
      onUnreadable: () => undefined,
      onLeft: () => undefined,
    };
    edge.server.on('connection', (socket: Socket) => new ClientConnection(socket, site));
    return edge.#open(routes);
  }

  /** Serves connections. */
  static async tcp(routes: Route[], traffic: Partial<TrafficPolicy> = {}): Promise<Edge> {
    const edge = new Edge({ ...DEFAULT_TRAFFIC, mode: 'tcp', ...traffic });
    edge.server.on('connection', (client) => serveTcp(edge.service, client));
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
    const clock = setInterval(() => this.service.check(performance.now()), 100);
    onTestFinished(() => {
      clearInterval(clock);
      server.close();
      this.service.end();
      this.service.close();
      for (const socket of this.clients) socket.destroy();
    });
    return this;
  }
}

const NO_PLAIN_REQUESTS = { status: 404, reason: 'no-service', message: 'WebSockets only' };
