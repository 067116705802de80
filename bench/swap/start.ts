import { openWorkplace, type Workplace } from '../../test/support/cli/workplace.ts';
import { memoryOf, meter } from './usage.ts';

/** Path at which the reference guest is told who it is. */
const WAKE = '/.unideploy/wake';

export interface Started {
  guests: number;
  /** from typing `unideploy up` to its exit, the making of the template included */
  seconds: number;
  /** of each guest, from its start until all have been let in: milliseconds */
  cpuEach: number;
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
    const { exitCode, stderr, stdout } = await place.cli(['up']);
    if (exitCode !== 0) throw new Error(`up ended with ${exitCode}: ${stderr}${stdout.slice(-500)}`);
    const seconds = Math.round((performance.now() - began) / 100) / 10;
    const { guests: cpu } = (await meter(place))();
    const cpuEach = Math.round((cpu * 1000) / guests);
    return { place, started: { guests, seconds, cpuEach, memoryEach: await memoryOf(place) } };
  } catch (error) {
    await place.close();
    throw error;
  }
}
