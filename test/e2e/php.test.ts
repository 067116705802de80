import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';

let place: Workplace;

beforeAll(async () => {
  place = await openWorkplace('php');
  await place.configure({ replicas: 1 });
  await place.publish(page('one'), 'index.php');
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
});

afterAll(() => takeDown(place));

describe('a PHP application whose code is on a volume', () => {
  it('runs the code of the revision', async () => {
    expect(await answer()).toBe('code one\n');
  });

  it('runs the new code after a swap in the one guest that there is, and no request fails', async () => {
    await place.publish(page('two'), 'index.php');
    const [outcome] = await underLoad(place, () => place.cli(['rollout']));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(outcome.stdout).toContain('swapped the volume of site-1-1');
    expect(serving(await place.status())).toEqual(['site-1-1 2 verified']);
    expect(await answer()).toBe('code two\n');
  });
});

function page(version: string): string {
  return `<?php\necho "code ", strtolower('${version.toUpperCase()}'), "\\n";\n`;
}

async function answer(): Promise<string> {
  const { listen } = await place.status();
  const response = await fetch(`http://${listen?.host}:${listen?.port}/`);
  return await response.text();
}
