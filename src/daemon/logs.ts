import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { boundLog } from '../bounded-log.ts';
import type { StatePaths } from './paths.ts';

/** Keeps the logs of a state within bounds: the controller's, those of guests and of HAProxy. The rest is the data plane's. */
export async function boundLogs({ root, log }: StatePaths): Promise<void> {
  const run = join(root, 'run');
  const guests = (await namesIn(run)).filter((name) => !name.startsWith('.'));
  const haproxy = (await namesIn(join(root, 'haproxy'))).filter((name) => name.endsWith('.log'));
  const logs = [
    log,
    ...guests.flatMap((id) => [join(run, id, 'console.log'), join(run, id, 'qemu.log')]),
    ...haproxy.map((name) => join(root, 'haproxy', name)),
  ];
  for (const each of logs) await boundLog(each);
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch(() => []);
}
