import { setTimeout as pause } from 'node:timers/promises';
import { openWorkplace, type Running, type Workplace } from '../../test/support/cli/workplace.ts';
import { cpuOf } from '../proxy/process-tree.ts';
import { memoryOf, meter } from './usage.ts';

/** Path at which the reference guest is told who it is. */
const WAKE = '/.unideploy/wake';
/** Milliseconds between two looks at what `unideploy up` has said. */
const LOOK_EVERY = 5;

export interface Started {
  guests: number;
  /** from typing `unideploy up` to its exit, the making of the template included */
  seconds: number;
  /** of each guest, from its start until it was let in: milliseconds */
  cpuEach: number;
  /** the same until all were */
  cpuUntilAll: number;
  /** MB */
  memoryEach: number;
}

/** A service of so many guests, each booted, or all copies of one. */
export async function startService(
  guests: number,
  how: 'cold' | 'copies',
): Promise<{ place: Workplace; started: Started }> {
  const place = await openWorkplace();
  await place.configure({
    replicas: guests,
    // Each check takes an emulated guest and the controller some 10 ms of CPU: a hundred of them in a second, half of two cores.
    // And guests that are started by the hundred take their time.
    health: { interval: '5s', deadline: '5m' },
    // The bare script is no reason for a repair.
    supervision: { enabled: false },
    ...(how === 'copies' && { guest: { wake: WAKE } }),
  });
  try {
    const began = performance.now();
    const running = place.start(['up', '--json']);
    const cpuEach = await cpuWhenLetIn(place, running);
    const { exitCode, stderr, stdout } = await running.outcome;
    if (exitCode !== 0) throw new Error(`up ended with ${exitCode}: ${stderr}${stdout.slice(-500)}`);
    const seconds = Math.round((performance.now() - began) / 100) / 10;
    const { guests: cpu } = (await meter(place))();
    const cpuUntilAll = Math.round((cpu * 1000) / guests);
    return { place, started: { guests, seconds, cpuEach, cpuUntilAll, memoryEach: await memoryOf(place) } };
  } catch (error) {
    await place.close();
    throw error;
  }
}

/** Mean milliseconds of CPU of each guest's machine at the moment in which the journal says that it was let in. */
async function cpuWhenLetIn(place: Workplace, { said, outcome }: Running): Promise<number> {
  const taken: number[] = [];
  let read = 0;
  const take = async () => {
    const whole = said().lastIndexOf('\n') + 1;
    const instances = said().slice(read, whole).split('\n').flatMap(letIn);
    read = whole;
    if (instances.length === 0) return;
    const pids = await place.guestPids();
    for (const instance of instances) taken.push(cpuOf([pids[instance] as number]) * 1000);
  };
  const ended = outcome.then(
    () => true,
    () => true,
  );
  while (!(await Promise.race([ended, pause(LOOK_EVERY, false)]))) await take();
  await take();
  return Math.round(taken.reduce((sum, each) => sum + each, 0) / taken.length);
}

/** The instance that a line of `--json` says was let in. */
function letIn(line: string): string[] {
  if (line === '') return [];
  const { event, action } = JSON.parse(line) as {
    event?: string;
    action?: { kind: string; instance: string };
  };
  return event === 'action-finished' && action?.kind === 'admit' ? [action.instance] : [];
}
