import { expect } from 'vitest';
import type { Workplace } from './workplace.ts';

/** Ends a test's service as a user would, and expects that nothing of it is left; what is left goes all the same. */
export async function takeDown(place: Workplace): Promise<void> {
  const { exitCode } = await place.cli(['down']);
  const left = place.processes().map(({ words }) => words.join(' '));
  await place.close();
  expect({ exitCode, left }).toEqual({ exitCode: 0, left: [] });
}
