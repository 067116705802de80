import { readdirSync, readFileSync } from 'node:fs';
import { appendFile, chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Action } from '../../src/domain/action.ts';
import { end } from '../support/cli/processes.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { type Outcome, openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';
import { eventually } from '../support/qemu/asking.ts';

let place: Workplace;

const WAKE = { wake: '/.unideploy/wake' };
const health = { deadline: '30s' };

beforeAll(async () => {
  place = await openWorkplace();
  await configure();
});

afterAll(() => takeDown(place));

/** @param cmdline another one is another image */
async function configure(cmdline = '', replicas = 3): Promise<void> {
  await place.configure({ replicas, health, guest: { ...WAKE, ...(cmdline && { cmdline }) } });
}

const events = ({ lines }: Outcome, event: string) => lines.filter((line) => line.event === event);
const templatesOf = ({ state }: Workplace) =>
  readdirSync(join(state, 'templates')).filter((name) => /^[0-9a-f]{32}$/.test(name));

/** How much of it the host gave each guest: seconds of its processors, and memory in MB, what is shared in shares. */
async function costs(ids: string[]): Promise<{ cpu: number; pss: number }[]> {
  const pids = await place.guestPids();
  return ids.map((id) => {
    const pid = pids[id];
    const [user = 0, system = 0] = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .split(' ')
      .slice(13, 15)
      .map(Number);
    const pss = /^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    return { cpu: (user + system) / 100, pss: Number(pss) / 1024 };
  });
}

describe('a service whose guests may be copied', () => {
  it('comes up as copies of one guest, each verified before it is let in', async () => {
    const outcome = await place.cli(['up', '--json']);
    expect(outcome).toMatchObject({ exitCode: 0 });
    expect(events(outcome, 'template-made')).toHaveLength(1);
    expect(events(outcome, 'copied')).toHaveLength(3);
    expect(serving(await place.status())).toEqual(
      ['site-1-1', 'site-1-2', 'site-1-3'].map((id) => `${id} 1 verified`),
    );
    expect(templatesOf(place)).toHaveLength(1);
  });

  it('is rolled out guest by guest, from a template of the new revision, and no request fails', async () => {
    await configure('ud.control=1');
    const [outcome] = await underLoad(place, () => place.cli(['rollout', '--json']));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(events(outcome, 'template-made')).toHaveLength(1);
    expect(events(outcome, 'copied')).toHaveLength(3);
  });

  it('grows by a copy, without a further template', async () => {
    const outcome = await place.cli(['scale', '4', '--json']);
    expect(outcome).toMatchObject({ exitCode: 0 });
    expect([events(outcome, 'template-made').length, events(outcome, 'copied').length]).toEqual([0, 1]);
    expect(outcome.stdout).toContain('site-3-1');
  });

  it('is repaired by a copy', async () => {
    const pids = await place.guestPids();
    end(pids['site-3-1'] ?? 0, 'SIGKILL');
    const repaired = async () => {
      const { rollouts } = JSON.parse((await place.cli(['history', '--json'])).stdout);
      return rollouts[0].kind === 'repair' && rollouts[0].state === 'succeeded';
    };
    await eventually('it is repaired', repaired, 30_000, 200);
    expect((await place.cli(['audit'])).stdout).toMatch(/site-4-1 is a copy of template/);
  });

  it('pays for a copy a fraction of what a boot costs', async () => {
    const copy = await costs(['site-4-1']);
    await place.configure({ replicas: 4, health, guest: { cmdline: 'ud.control=1' } });
    const outcome = await place.cli(['rollout', '--json']);
    expect(outcome).toMatchObject({ exitCode: 0 });
    expect(events(outcome, 'copied')).toEqual([]);
    const booted = await costs(['site-5-1']);
    expect(booted[0]?.cpu).toBeGreaterThan(4 * (copy[0]?.cpu ?? 0));
    expect(booted[0]?.pss).toBeGreaterThan(1.5 * (copy[0]?.pss ?? 0));
  });
});

describe('a template that was spoilt', () => {
  it.each([
    ['its state', (folder: string) => appendFile(join(folder, 'state'), 'x')],
    ['its memory', (folder: string) => writeFile(join(folder, 'ram.img'), 'x', { flag: 'r+' })],
  ])('in %s is told of and removed, and guests boot', async (what, spoil) => {
    await configure(`ud.control=1 spoilt=${what.replace(' ', '-')}`);
    const rolled = await place.cli(['rollout', '--json']);
    expect(rolled).toMatchObject({ exitCode: 0 });
    const { template } = events(rolled, 'template-made')[0] as unknown as { template: string };
    const folder = join(place.state, 'templates', template);
    await chmod(join(folder, 'ram.img'), 0o600);
    await spoil(folder);
    const [outcome] = await underLoad(place, () => place.cli(['restart', '--json']));
    expect(outcome).toMatchObject({ exitCode: 0 });
    expect(events(outcome, 'template-broken')).toMatchObject([{ error: { code: 'UD_TEMPLATE' } }]);
    expect(templatesOf(place)).not.toContain(template);
    const launched = outcome.lines.filter((line) => {
      const { event, action } = line as { event?: string; action?: Action };
      return event === 'action-finished' && action?.kind === 'launch';
    });
    expect(launched).toHaveLength(3);
  });
});

it('templates of revisions that are kept no more are collected', async () => {
  const before = templatesOf(place);
  expect((await place.cli(['gc', '--dry-run', '--all'])).stdout).toMatch(
    /template +site 1 .* site 1: stable/,
  );
  await place.configure({
    replicas: 3,
    health,
    guest: { ...WAKE, cmdline: 'ud.control=1 last=1' },
    rollout: { keep: 2 },
  });
  const outcome = await place.cli(['rollout', '--json']);
  const { template } = events(outcome, 'template-made')[0] as unknown as { template: string };
  const dry = await place.cli(['gc', '--dry-run']);
  expect(dry.stdout.match(/template +site \d .* would go/g)).toHaveLength(before.length);
  expect(templatesOf(place)).toHaveLength(before.length + 1);
  await place.cli(['gc']);
  expect(templatesOf(place)).toEqual([template]);
});
