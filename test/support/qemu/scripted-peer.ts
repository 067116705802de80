import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const GREETING = {
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 }, package: '' }, capabilities: [] },
};

interface Command {
  execute: string;
  arguments: Record<string, unknown>;
  id: number;
}

/** The other end of a monitor: what it does when a client comes and when a command does. */
export interface Script {
  connected?: (socket: Socket) => void;
  /** commands after qmp_capabilities, which the peer answers itself */
  command?: (command: Command, socket: Socket) => void;
}

export interface Peer {
  path: string;
  commands: Command[];
  close(): Promise<void>;
}

/** A monitor that follows a script, on a real Unix socket. */
export async function scriptedPeer({ connected = greet, command = () => {} }: Script): Promise<Peer> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-peer-'));
  const path = join(folder, 'qmp.sock');
  const sockets = new Set<Socket>();
  const commands: Command[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    let rest = '';
    socket.on('data', (chunk) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const received = JSON.parse(line) as Command;
        commands.push(received);
        if (received.execute === 'qmp_capabilities') tell(socket, { return: {}, id: received.id });
        else command(received, socket);
      }
    });
    connected(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    path,
    commands,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export function greet(socket: Socket): void {
  tell(socket, GREETING);
}

export function tell(socket: Socket, ...frames: object[]): void {
  socket.write(frames.map((frame) => `${JSON.stringify(frame)}\r\n`).join(''));
}
