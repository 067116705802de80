import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Endpoint } from '../../../src/hypervisor/port.ts';

/** Clients that have a guest append lines to its journal, all the time, and know which it has acknowledged. */
export interface Writers {
  /** texts that were acknowledged, in the order in which they were */
  acknowledged: string[];
  stop(): Promise<void>;
}

let written = 0;

/** They go on until they are stopped, or the guest is gone. */
export function writers(endpoint: () => Endpoint | null, count = 4): Writers {
  const acknowledged: string[] = [];
  let stopped = false;
  const write = async () => {
    while (!stopped) {
      const text = `w${++written}`;
      const to = endpoint();
      if (to === null) return;
      try {
        await append(to, text);
        acknowledged.push(text);
      } catch {
        if (endpoint() === to) return;
      }
    }
  };
  const all = Promise.all(Array.from({ length: count }, write));
  return {
    acknowledged,
    async stop() {
      stopped = true;
      await all;
    },
  };
}

export async function append({ host, port }: Endpoint, text: string): Promise<void> {
  const init = { method: 'POST', body: text, signal: AbortSignal.timeout(20_000) };
  const answer = await fetch(`http://${host}:${port}/data/append`, init);
  const said = await answer.text();
  if (answer.status !== 200) throw new Error(`append: ${answer.status} ${said}`);
}

export async function journal({ host, port }: Endpoint): Promise<string[]> {
  const answer = await fetch(`http://${host}:${port}/data/log`, { signal: AbortSignal.timeout(20_000) });
  return texts(await answer.text());
}

/** What an image of a data volume holds, read by other tools than ours. */
export interface Held {
  /** texts of the journal's lines */
  lines: string[];
  /** whether the file system was left in order; false: its own journal had to be replayed */
  isClean: boolean;
}

/** @throws what e2fsck found, where that is more than a journal to replay */
export async function heldBy(image: string): Promise<Held> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-held-'));
  const raw = join(folder, 'raw');
  const run = (program: string, ...words: string[]) =>
    execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', image, raw);
    const isClean = !run('debugfs', '-R', 'features', raw).includes('needs_recovery');
    // Exit code 1: replayed. Nothing may be left for the second one to find.
    if (!isClean) run('e2fsck', '-E', 'journal_only', '-p', raw);
    run('e2fsck', '-fn', raw);
    return { lines: texts(run('debugfs', '-R', 'cat /log', raw)), isClean };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Lines are numbered: `7 text`. */
function texts(log: string): string[] {
  return log
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/^\d+ /, ''));
}
