import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

interface Frame {
  id?: number;
  error?: { desc: string };
  event?: string;
  data?: { device?: string };
}

/** The least that speaks to a monitor of QEMU: what takes longer in unideploy is unideploy. */
export class Monitor {
  readonly #socket: Socket;
  readonly #answers = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  readonly #leaving = new Map<string, () => void>();
  #id = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    let rest = '';
    socket.on('data', (piece: Buffer) => {
      const lines = (rest + piece.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#take(JSON.parse(line));
    });
  }

  static async open(path: string): Promise<Monitor> {
    const monitor = new Monitor(connect(path));
    await monitor.execute('qmp_capabilities', {});
    return monitor;
  }

  execute(command: string, args: object): Promise<void> {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      this.#answers.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  /** Resolves when the guest has let go of the device. */
  deleted(device: string): Promise<void> {
    return new Promise((resolve) => this.#leaving.set(device, resolve));
  }

  /** A device that is deleted lets go of its file a moment later. */
  async closeNode(node: string): Promise<void> {
    for (;;) {
      try {
        return await this.execute('blockdev-del', { 'node-name': node });
      } catch (error) {
        if (!(error as Error).message.includes('in use')) throw error;
        await pause(5);
      }
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #take({ id, error, event, data }: Frame): void {
    if (event === 'DEVICE_DELETED') this.#leaving.get(data?.device ?? '')?.();
    const waiting = id === undefined ? undefined : this.#answers.get(id);
    if (error) waiting?.reject(new Error(error.desc));
    else waiting?.resolve();
  }
}
