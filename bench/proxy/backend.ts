import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import pRetry from 'p-retry';
import { freePort } from '../../src/proxy/haproxy/process.ts';

/** Sizes of the answers, in bytes, and the paths that have them. */
export const ANSWERS = { '1 KB': { path: '/1k', bytes: 1024 }, '100 KB': { path: '/100k', bytes: 102_400 } };

export interface Backend {
  port: number;
  pid: number;
  /** requests that it has answered */
  requests(): Promise<number>;
  end(): Promise<void>;
}

/** The cheapest server at hand: an HAProxy of one thread that answers by itself, and counts. */
export async function startBackend(folder: string, cpus: string): Promise<Backend> {
  const port = await freePort({ host: '127.0.0.1', port: 0 });
  const socket = join(folder, 'backend.sock');
  const rules = await Promise.all(
    Object.values(ANSWERS).map(async ({ path, bytes }) => {
      const file = join(folder, `${bytes}.txt`);
      await writeFile(file, 'x'.repeat(bytes));
      return `  http-request return status 200 content-type text/plain file ${file} if { path ${path} }`;
    }),
  );
  const config = join(folder, 'backend.cfg');
  await writeFile(config, configuration(port, socket, rules));
  const child = execa('taskset', ['-c', cpus, 'haproxy', '-db', '-f', config], {
    reject: false,
    // where an ordinary user's PATH does not look
    env: { PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` },
  });
  const requests = async () => {
    const [head = '', row = ''] = (await ask(socket, 'show stat app 1 -1')).replace('# ', '').split('\n');
    return Number(row.split(',')[head.split(',').indexOf('req_tot')]);
  };
  await pRetry(requests, { retries: 200, factor: 1, minTimeout: 20 });
  return {
    port,
    pid: child.pid as number,
    requests,
    async end() {
      child.kill('SIGKILL');
      await child;
    },
  };
}

function configuration(port: number, socket: string, rules: string[]): string {
  return `global
  nbthread 1
  stats socket ${socket} level admin
  # an answer has to fit
  tune.bufsize 131072

defaults
  mode http
  timeout client 60s
  timeout http-keep-alive 60s

frontend app
  bind 127.0.0.1:${port} backlog 4096
${rules.join('\n')}
`;
}

async function ask(path: string, command: string): Promise<string> {
  const socket = connect({ path, allowHalfOpen: true });
  socket.write(`${command}\n`);
  let text = '';
  for await (const piece of socket) text += String(piece);
  return text;
}
