import { Agent, createServer, request } from 'node:http';
import { connect, createServer as createNetServer, type Server } from 'node:net';

/** A proxy that ours is compared with: `rival.ts NAME BACKEND-PORT` prints the port it listens on, and ends with its input. */
const [name = '', port = ''] = process.argv.slice(2);
const upstream = { host: '127.0.0.1', port: Number(port) };
const agent = new Agent({ keepAlive: true });

const makers: Record<string, () => Server | Promise<Server>> = {
  async 'http-proxy 1.18.1'() {
    const { default: httpProxy } = await import('http-proxy-1');
    return forwarding(httpProxy.createProxyServer({ target: upstream, agent }));
  },
  async 'httpxy 0.5.6'() {
    const { createProxyServer } = await import('httpxy');
    return forwarding(createProxyServer({ target: upstream, agent }) as Forwarder);
  },
  'node:http': () =>
    createServer((req, res) => {
      const { method, url: path, headers } = req;
      const asked = request({ ...upstream, agent, method, path, headers }, (answer) => {
        res.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(res);
      });
      asked.on('error', () => res.destroy());
      req.pipe(asked);
    }),
  'net splice': () =>
    createNetServer({ noDelay: true }, (client) => {
      const server = connect({ ...upstream, noDelay: true });
      client.pipe(server).pipe(client);
      client.on('error', () => server.destroy());
      server.on('error', () => client.destroy());
    }),
};

export interface Forwarder {
  web(...parts: unknown[]): unknown;
  on(event: 'error', listener: () => void): unknown;
}

function forwarding(proxy: Forwarder): Server {
  proxy.on('error', () => process.stderr.write(`${name}: a request failed\n`));
  return createServer((req, res) => void proxy.web(req, res));
}

const server = await makers[name]?.();
server?.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as { port: number }).port}\n`);
});
process.stdin.resume().once('end', () => process.exit());
