import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Fence } from '../../../src/domain/fence.ts';
import { DEFAULT_SUPERVISION } from '../../../src/domain/supervision.ts';
import type { Store } from '../../../src/store/port.ts';
import type { Lesson } from '../../../src/store/rebuild.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { goalOf, HEALTH, POLICY, revision, rollout } from '../../support/revisions.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ud-fence-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Of a controller that does not know yet that it is late: nothing but the database can refuse it. */
const unaware = (token: number): Fence => ({ token, check: () => {} });

function open(token: number): Store {
  const store = sqliteStore(join(folder, 'state.db'), unaware(token));
  onTestFinished(() => store.close());
  return store;
}

const GOAL = goalOf(1, 2);
const SERVICE = {
  name: 'site',
  goal: GOAL,
  policy: POLICY,
  health: HEALTH,
  warm: null,
  supervision: DEFAULT_SUPERVISION,
  gaveUp: null,
};
const TABLE = {
  service: 'site',
  version: 1,
  listen: { host: '127.0.0.1', port: 0 },
  hold: false,
  preview: null,
  traffic: GOAL.traffic,
  routes: [],
};

/** All that is in a store. */
function content(store: Store) {
  const journal = store.audit('site', 100);
  return [
    store.services(),
    store.rollouts('site', 10),
    store.revisions('site'),
    store.table('site'),
    journal,
  ];
}

const LESSON: Lesson = {
  ...{ services: [], revisions: [revision(5)], tables: [], launched: [], ended: [] },
  ...{ lastRevision: new Map(), lastRollout: 0, told: [] },
};

const WRITES: Record<string, (store: Store) => unknown> = {
  putService: (store) => store.putService(SERVICE),
  removeService: (store) => store.removeService('site'),
  addRevision: (store) => store.addRevision(revision(2)),
  learn: (store) => store.learn(LESSON, 0),
  pin: (store) => store.pin('site', 1, { by: 'ana', at: 0 }),
  openRollout: (store) => store.openRollout(rollout(0, GOAL, GOAL, { service: 'other' })),
  updateRollout: (store) => store.updateRollout(rollout(1, GOAL, GOAL)),
  closeRollout: (store) =>
    store.closeRollout(
      rollout(1, GOAL, GOAL, { state: 'succeeded', endedAt: 1 }),
      { event: 'rollout-resumed', controller: 1 },
      'nothing',
    ),
  record: (store) =>
    store.record(rollout(1, GOAL, GOAL), [{ at: 0, happening: { event: 'rollout-resumed', controller: 1 } }]),
  append: (store) => store.append({ id: 1, service: 'site' }, 0, { event: 'rollout-resumed', controller: 1 }),
  putTable: (store) => store.putTable({ ...TABLE, version: 2 }),
};

describe('a database that a newer controller has taken', () => {
  it.each(Object.entries(WRITES))('refuses the late one’s %s, and changes nothing', (_name, write) => {
    const late = open(7);
    late.putService(SERVICE);
    late.addRevision(revision(1));
    late.openRollout(rollout(0, GOAL, GOAL));
    late.putTable(TABLE);
    const newer = open(8);
    const before = content(newer);
    expect(() => write(late)).toThrow(expect.objectContaining({ code: 'UD_FENCED' }));
    expect(content(newer)).toEqual(before);
    expect(content(late)).toEqual(before);
    write(newer);
  });

  it('is not taken back by an older token, and can be read without one', () => {
    const newer = open(8);
    newer.putService(SERVICE);
    expect(() => open(7)).toThrow(expect.objectContaining({ code: 'UD_FENCED' }));
    const reader = open(0);
    expect(reader.services()).toEqual([SERVICE]);
    expect(() => reader.putService(SERVICE)).toThrow(expect.objectContaining({ code: 'UD_FENCED' }));
    newer.putService(SERVICE);
  });

  it('has all writes of a store tried here', () => {
    const reads = ['services', 'service', 'revisions', 'revision', 'rollouts', 'rollout', 'openRollouts'];
    const others = [
      ...reads,
      'owners',
      'lastRollout',
      'copyTo',
      'journal',
      'audit',
      'orders',
      'table',
      'close',
    ];
    expect(
      Object.keys(open(1))
        .filter((name) => !others.includes(name))
        .sort(),
    ).toEqual(Object.keys(WRITES).sort());
  });
});
