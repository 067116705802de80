import { setTimeout as breath } from 'node:timers/promises';
import { Pool } from 'undici';
import { eventually } from '../qemu/asking.ts';

/** Clients that write all the time, and remember what was acknowledged. */
export interface Writer {
  /** numbers and texts of the lines that the guest has said are on its disk */
  readonly acknowledged: ReadonlyMap<number, string>;
  readonly failures: readonly string[];
  /** Waits until so many more have been acknowledged. */
  more(count: number): Promise<void>;
  /** Sends no more, and waits for what is under way. */
  stop(): Promise<void>;
}

/** Milliseconds between an acknowledged write of a client and its next. */
const BREATH = 20;

/** @param url of the data plane */
export function startWriter(url: string, connections = 4): Writer {
  const pool = new Pool(url, { connections, headersTimeout: 60_000, bodyTimeout: 60_000 });
  const acknowledged = new Map<number, string>();
  const failures: string[] = [];
  let sent = 0;
  let stopping = false;
  const write = async () => {
    const body = `write-${process.hrtime.bigint()}-${++sent}`;
    try {
      const answer = await pool.request({ method: 'POST', path: '/data/append', body });
      const text = (await answer.body.text()).trim();
      if (answer.statusCode === 200) acknowledged.set(Number(text), body);
      else failures.push(`${answer.statusCode} ${text}`);
    } catch (error) {
      failures.push((error as Error).message);
    }
  };
  const loop = async () => {
    while (!stopping) {
      await write();
      // Of a guest that serves one after the other nothing would be left for whoever asks for its health.
      await breath(BREATH);
    }
  };
  const loops = Promise.all(Array.from({ length: connections }, loop));
  return {
    acknowledged,
    failures,
    async more(count) {
      const enough = acknowledged.size + count;
      await eventually(`${count} more writes`, () => acknowledged.size >= enough, 120_000);
    },
    async stop() {
      stopping = true;
      await loops;
      await pool.close();
    },
  };
}

/** The lines of the log, in their order. */
export async function logOf(url: string): Promise<string[]> {
  const answer = await fetch(`${url}/data/log`, { signal: AbortSignal.timeout(60_000) });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`/data/log: ${answer.status} ${text}`);
  return text.split('\n').filter((line) => line !== '');
}

/** Acknowledged lines that the log does not have as they were acknowledged. */
export function lostFrom(log: readonly string[], { acknowledged }: Pick<Writer, 'acknowledged'>): string[] {
  return [...acknowledged]
    .filter(([number, text]) => log[number - 1] !== `${number} ${text}`)
    .map(([number, text]) => `${number} ${text}`);
}
