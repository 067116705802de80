import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_SUPERVISION } from '../../../src/domain/supervision.ts';
import type { Store } from '../../../src/store/port.ts';
import { readRecords, recording } from '../../../src/store/records.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { goalOf, HEALTH, POLICY, revision, rollout } from '../../support/revisions.ts';

let folder: string;
let plain: Store;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ud-records-'));
  plain = sqliteStore(':memory:');
});

afterEach(async () => {
  plain.close();
  await rm(folder, { recursive: true });
});

const SERVICE = {
  name: 'site',
  goal: goalOf(1, 2),
  policy: POLICY,
  health: HEALTH,
  warm: null,
  supervision: DEFAULT_SUPERVISION,
  gaveUp: null,
};
const FINISHED = {
  event: 'rollout-finished',
  verdict: 'succeeded',
  reason: null,
  ms: 0,
  evidence: null,
  verified: true,
} as const;

function deployed(store: Store): void {
  const { number: _, stableAt: __, ...spec } = revision(1);
  store.addRevision(spec);
  const opened = store.openRollout(rollout(0, goalOf(null, 0), goalOf(1, 2)));
  store.closeRollout({ ...opened, state: 'succeeded', endedAt: 9 }, FINISHED, 'nothing');
}

describe('records', () => {
  it('tell what services and revisions are, and the last rollout', () => {
    const store = recording(plain, folder);
    deployed(store);
    store.openRollout(rollout(0, goalOf(1, 2), goalOf(1, 3)));
    expect(readRecords(folder)).toEqual({
      services: [SERVICE],
      revisions: [{ ...revision(1), stableAt: 9 }],
      lastRollout: new Map([['site', 2]]),
    });
  });

  it('are written for what an earlier version has stored', () => {
    deployed(plain);
    recording(plain, folder);
    expect(readRecords(folder)).toMatchObject({ services: [SERVICE], revisions: [{ number: 1 }] });
  });

  it('keep the revisions of a service that was taken down, and not the service', () => {
    const store = recording(plain, folder);
    deployed(store);
    store.removeService('site');
    expect(readRecords(folder)).toMatchObject({ services: [], revisions: [{ number: 1 }] });
    deployed(store);
    const down = store.openRollout(rollout(0, goalOf(1, 2), goalOf(null, 0)));
    store.closeRollout({ ...down, state: 'succeeded', endedAt: 20 }, FINISHED, 'nothing');
    expect(readRecords(folder)).toMatchObject({ services: [], revisions: [{ number: 1 }, { number: 2 }] });
  });

  it('that are torn are left out, and one that cannot be written keeps nobody from anything', async () => {
    const store = recording(plain, folder);
    deployed(store);
    await writeFile(join(folder, 'site', '1.json'), '{"numb');
    expect(readRecords(folder)).toMatchObject({ services: [SERVICE], revisions: [] });
    const blocked = recording(plain, join(folder, 'site', '1.json'));
    blocked.putService({ ...SERVICE, goal: goalOf(1, 5) });
    expect(plain.service('site')?.goal.replicas).toBe(5);
    expect(await readdir(join(folder, 'site'))).toEqual(['1.json', 'service.json']);
  });
});
