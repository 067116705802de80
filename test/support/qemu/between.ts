import { rename, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';

interface Command {
  execute: string;
  id: number;
}

/** What is done with a command on its way: `pass` gives it on to QEMU. */
export type Meddling = (command: Command, pass: () => void, client: Socket) => void;

/** Somebody between the one client of a monitor and its QEMU. */
export interface Between {
  /** From now on; without one, everything passes. */
  meddle(with_?: Meddling): void;
  /** Puts QEMU's own socket back, and hangs up. */
  end(): Promise<void>;
}

/** Takes the place of a monitor's socket, as long as nobody is connected to it. */
export async function between(path: string): Promise<Between> {
  const own = `${path}.own`;
  await rename(path, own);
  let meddling: Meddling | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const monitor = connect(own);
    for (const [socket, other] of [
      [client, monitor],
      [monitor, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    monitor.on('data', (answer) => client.write(answer));
    let rest = '';
    client.on('data', (chunk) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const pass = () => void monitor.write(`${line}\n`);
        if (meddling) meddling(JSON.parse(line) as Command, pass, client);
        else pass();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    meddle(next) {
      meddling = next;
    },
    async end() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
      await rm(path, { force: true });
      await rename(own, path).catch(() => {}); // the guest may have gone meanwhile
    },
  };
}
