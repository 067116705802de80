import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import { running } from '../../support/cli/running.ts';
import { takeDown } from '../../support/cli/take-down.ts';
import type { Workplace } from '../../support/cli/workplace.ts';
import { attempt, setOut } from '../../support/faults/attempt.ts';
import { allCases, sampleOf } from '../../support/faults/cases.ts';
import { momentsOf } from '../../support/faults/moments.ts';
import { sampler, seed } from '../../support/seed.ts';

const EVERYTHING = process.env.UNIDEPLOY_FAULTS === 'all';
const sample = sampler(seed);

let place: Workplace;
/** of the service's life: no two rollouts bring the same */
let round = 1;

beforeAll(async () => {
  place = await running('v1');
});

// What a failed case has left behind says nothing of the next one.
afterEach(async ({ task }) => {
  if (task.result?.state !== 'fail') return;
  await takeDown(place);
  place = await running('v1');
});

afterAll(() => takeDown(place));

/** One service goes through all of it, as long as it is well. */
describe('a process of a service under load that dies or stands still in the midst of a rollout', () => {
  it.each(EVERYTHING ? allCases() : sampleOf(sample))(
    '$name: one version serves, nothing is left, and the record is true',
    async (what) => {
      await setOut(place, what, ++round);
      const { stdout, exitCode } = await place.cli(['plan', '--json']);
      expect(exitCode, stdout).toBe(0);
      const { steps } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { steps: JournalEntry[] };
      const moments = momentsOf(steps, what.target);
      for (const moment of EVERYTHING ? moments : sample.some(moments, 1)) {
        const problems = await attempt(place, what, moment);
        expect({ moment, problems }).toEqual({ moment, problems: [] });
        await setOut(place, what, ++round);
      }
    },
    EVERYTHING ? 3_600_000 : 300_000,
  );
});
