import { expect, it } from 'vitest';
import { exhaust } from './exhaust.ts';
import { STORIES, type Way } from './stories.ts';

/** A test for every strategy and what it can change, of stories that go this way. */
export function exhaustsEach(way: Way): void {
  it.each(STORIES.filter((story) => story.way === way))('$name', async (story) => {
    const { plays, problems } = await exhaust(story);
    expect(plays).toBeGreaterThan(50);
    expect(problems).toEqual([]);
  });
}
