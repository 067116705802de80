import { prepare } from './revisions.ts';
import { takeDown } from './take-down.ts';
import { openWorkplace, type Workplace } from './workplace.ts';

/** A workplace whose service runs, of a first revision of that name; `takeDown` ends it. */
export async function running(name: string): Promise<Workplace> {
  const place = await openWorkplace();
  try {
    await prepare(place, name);
    const { exitCode, stderr } = await place.cli(['up']);
    if (exitCode !== 0 || stderr !== '') throw new Error(`up ended with ${exitCode}: ${stderr}`);
    return place;
  } catch (error) {
    await takeDown(place);
    throw error;
  }
}
