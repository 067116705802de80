import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { keepTime, type SteadyClock, steadyClock } from '../../../src/daemon/system-clock.ts';

const DAY = 86_400_000;
const NOON = 1_800_000_000_000;

/** A machine whose wall clock somebody sets, and that has been up for an hour. */
function machine() {
  let up = 3_600_000;
  let set = 0;
  return {
    pass: (ms: number) => {
      up += ms;
    },
    /** the wall clock, by so many ms */
    set: (ms: number) => {
      set += ms;
    },
    /** of a process that starts now */
    clock: (): SteadyClock =>
      steadyClock(
        () => NOON + up + set,
        () => up,
      ),
  };
}

let file: string;

beforeEach(async () => {
  file = join(await mkdtemp(join(tmpdir(), 'ud-clock-')), 'clock');
});

afterEach(() => rm(join(file, '..'), { recursive: true }));

describe.each([DAY, -DAY])('a wall clock that is set by %s ms', (jump) => {
  it('changes no duration and no deadline', () => {
    const host = machine();
    const clock = host.clock();
    const began = clock.now();
    host.pass(500);
    host.set(jump);
    host.pass(500);
    expect(clock.now() - began).toBe(1000);
  });

  it('changes none either for the controller that takes over an open rollout', async () => {
    const host = machine();
    const before = host.clock();
    await keepTime({ clock: file }, before, false);
    const began = before.now();
    host.set(jump);
    host.pass(1000);
    const after = host.clock();
    await keepTime({ clock: file }, after, true);
    expect(after.now() - began).toBe(1000);
    host.pass(1000);
    const third = host.clock();
    await keepTime({ clock: file }, third, true);
    expect(third.now() - began).toBe(2000);
  });

  it('is believed by the next controller that has nothing under way', async () => {
    const host = machine();
    await keepTime({ clock: file }, host.clock(), false);
    host.set(jump);
    const after = host.clock();
    const now = after.now();
    await keepTime({ clock: file }, after, false);
    expect(after.now()).toBe(now);
  });
});

it.each([
  ['torn', () => '{"boot": "'],
  ['of another boot', (text: string) => text.replace(/"boot":"[^"]*"/, '"boot":"another"')],
])('a record of the time that is %s is not believed', async (_name, change) => {
  const host = machine();
  await keepTime({ clock: file }, host.clock(), false);
  await writeFile(file, change(await readFile(file, 'utf8')));
  host.set(DAY);
  const after = host.clock();
  const now = after.now();
  await keepTime({ clock: file }, after, true);
  expect(after.now()).toBe(now);
});
