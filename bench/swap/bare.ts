import { existsSync } from 'node:fs';
import { link, readdir, readFile, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Monitor } from './monitor.ts';

/** What the bare script knows of a code volume: nothing that the run directories do not say. */
interface Volume {
  name: string;
  digest: string;
  format: string;
  revision: string;
  probe: string;
}

interface Attachment extends Volume {
  number: number;
}

interface Guest {
  folder: string;
  port: number;
  monitor: Monitor;
  /** the next number that no volume of this guest has had */
  next: number;
  has: Attachment;
}

/** Milliseconds between two probes. */
const PROBE_EVERY = 20;

/**
 * The swap by nothing but the QMP commands and the probe: no record, no table, no look at anything else, by the monitor
 * that each guest has for other tools. What a controller has to know of it is written down before the clock starts.
 */
export class BareScript {
  readonly #state: string;
  readonly #guests: Guest[];

  private constructor(state: string, guests: Guest[]) {
    this.#state = state;
    this.#guests = guests;
  }

  static async open(state: string): Promise<BareScript> {
    const run = join(state, 'run');
    const ids = (await readdir(run)).filter((name) => !name.startsWith('.'));
    return new BareScript(state, await Promise.all(ids.map((id) => open(join(run, id)))));
  }

  /** What the guests have now. */
  get volume(): Volume {
    return this.#guests[0]?.has as Volume;
  }

  /** Gives every guest the volume, so many at a time: milliseconds of the whole, and of the slowest guest's own swap. */
  async swap(volume: Volume, parallel: number): Promise<{ ms: number; slowest: number }> {
    for (const { folder, next, has } of this.#guests) {
      const lent = join(folder, 'artifacts', volume.digest);
      if (!existsSync(lent)) await link(join(this.#state, 'artifacts', volume.digest), lent);
      const made = [has, { ...volume, number: next }];
      await writeFile(join(folder, 'attachments.json'), JSON.stringify({ next: next + 1, made }));
    }
    const waiting = [...this.#guests];
    const own: number[] = [];
    const began = performance.now();
    const work = async () => {
      for (let guest = waiting.shift(); guest; guest = waiting.shift()) {
        const start = performance.now();
        await swapOne(guest, volume);
        own.push(performance.now() - start);
      }
    };
    await Promise.all(Array.from({ length: parallel }, work));
    return { ms: performance.now() - began, slowest: Math.max(...own) };
  }

  close(): void {
    for (const { monitor } of this.#guests) monitor.close();
  }
}

async function open(folder: string): Promise<Guest> {
  const read = async (name: string) => JSON.parse(await readFile(join(folder, name), 'utf8'));
  const { next, made } = await read('attachments.json');
  const { port } = await read('endpoint.json');
  const monitor = await Monitor.open(join(folder, 'own', 'debug'));
  return { folder, port, monitor, next, has: made.at(-1) };
}

async function swapOne(guest: Guest, volume: Volume): Promise<void> {
  const { monitor, has } = guest;
  const fresh = { ...volume, number: guest.next++ };
  const node = nodeOf(fresh);
  await monitor.execute('blockdev-add', {
    driver: 'raw',
    'node-name': node,
    'read-only': true,
    file: { driver: 'file', filename: `artifacts/${volume.digest}`, locking: 'auto' },
  });
  await monitor.execute('device_add', {
    driver: 'scsi-hd',
    bus: 'volumes.0',
    'scsi-id': fresh.number % 256,
    lun: Math.floor(fresh.number / 256),
    id: deviceOf(fresh),
    drive: node,
    serial: node,
  });
  do await pause(PROBE_EVERY);
  while (!(await serves(guest, volume)));
  const deleted = monitor.deleted(deviceOf(has));
  await monitor.execute('device_del', { id: deviceOf(has) });
  await deleted;
  await monitor.closeNode(nodeOf(has));
  guest.has = fresh;
}

function deviceOf({ name, number }: Attachment): string {
  return `${name}.${number}`;
}

function nodeOf({ digest, number }: Attachment): string {
  return `d${digest.slice(0, 12)}.${number}`;
}

function serves({ port }: Guest, { probe, revision }: Volume): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = get(
      { host: '127.0.0.1', port, path: probe, agent: false, timeout: 5000 },
      async (answer) => {
        let text = '';
        for await (const piece of answer) text += String(piece);
        resolve(answer.statusCode === 200 && text.trim() === revision);
      },
    );
    asked.on('error', () => resolve(false));
    asked.on('timeout', () => asked.destroy());
  });
}
