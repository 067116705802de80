import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import type { Revision } from '../../../src/domain/revision.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import { DEFAULT_SUPERVISION } from '../../../src/domain/supervision.ts';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import type { RoutingTable } from '../../../src/proxy/port.ts';
import type { Store } from '../../../src/store/port.ts';
import {
  DEFAULT_HEALTH,
  DEFAULT_POLICY,
  type Found,
  type FoundMachine,
  isOlder,
  numbersOf,
  rebuilt,
} from '../../../src/store/rebuild.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { goalOf, HEALTH, POLICY, revision, rollout } from '../../support/revisions.ts';

const NOTHING: Found = {
  machines: [],
  tables: [],
  records: { services: [], revisions: [], lastRollout: new Map() },
  seen: [],
};

function machine(id: string, of: Revision, change: Partial<FoundMachine> = {}): FoundMachine {
  const { image, machine: shape, volumes, checks, number } = of;
  const spec = {
    image,
    machine: shape,
    volumes,
    checks,
    id,
    service: 'site',
    revision: number,
    rollout: 1,
    launchedAt: 5,
  };
  return { spec, runs: true, endpoint: { host: '127.0.0.1', port: 4000 }, volumes, ...change };
}

function table(version: number, routes: [string, number, number][]): RoutingTable {
  return {
    service: 'site',
    version,
    listen: { host: '0.0.0.0', port: 8080 },
    hold: false,
    preview: null,
    traffic: { ...DEFAULT_TRAFFIC, balance: 'round-robin' },
    routes: routes.map(([instance, number, weight]) => ({
      instance,
      revision: number,
      host: '127.0.0.1',
      port: 4000,
      weight,
    })),
  };
}

function stored(): Store {
  const store = sqliteStore(':memory:');
  onTestFinished(() => store.close());
  return store;
}

/** A store whose service `site` came to revision 1 by rollout 1. */
function serving(): Store {
  const store = stored();
  const { number: _, stableAt: __, ...spec } = revision(1);
  store.addRevision(spec);
  const opened = store.openRollout(rollout(0, goalOf(null, 0), goalOf(1, 2)));
  close(store, opened);
  return store;
}

function close(store: Store, opened: Rollout): void {
  const happening = {
    event: 'rollout-finished',
    verdict: 'succeeded',
    reason: null,
    ms: 0,
    evidence: null,
    verified: true,
  } as const;
  store.closeRollout({ ...opened, state: 'succeeded', endedAt: 1 }, happening, 'nothing');
}

function learn(store: Store, found: Found) {
  const lesson = rebuilt(store, found, 100);
  store.learn(lesson, 100);
  return lesson;
}

describe('a state made anew from what runs and serves', () => {
  it('has the services that serve, with their revisions, replicas and addresses', () => {
    const store = stored();
    const { told } = learn(store, {
      ...NOTHING,
      machines: [machine('site-4-1', revision(3)), machine('site-4-2', revision(3))],
      tables: [
        table(17, [
          ['site-4-1', 3, 100],
          ['site-4-2', 3, 100],
        ]),
      ],
      seen: ['site-4-1', 'site-4-2', 'site-2-1'],
    });
    expect(store.service('site')).toMatchObject({
      goal: { revision: 3, replicas: 2, listen: { port: 8080 }, traffic: { balance: 'round-robin' } },
      policy: DEFAULT_POLICY,
      health: DEFAULT_HEALTH,
    });
    expect(store.revision('site', 3)).toMatchObject({
      ...revision(3),
      createdBy: 'recover',
      createdAt: 5,
      stableAt: 5,
    });
    expect(store.table('site')).toMatchObject({ version: 17 });
    expect(told.join('\n')).toMatch(/revision 3 on 2; of it run: site-4-1, site-4-2/);
    expect(told.join('\n')).toMatch(/its policy, its health and its replicas are not known/);
    expect(store.audit('site', 1)).toMatchObject([{ event: 'state-rebuilt', told }]);
    expect(store.openRollout(rollout(0, goalOf(3, 2), goalOf(3, 2))).id).toBe(5);
    const { number: _, stableAt: __, ...spec } = revision(1);
    expect(store.addRevision(spec).number).toBe(4);
  });

  it('knows a guest whose volume was swapped as what it serves, by the volumes that it was given', () => {
    const store = stored();
    const swapped = machine('site-1-1', revision(1), { volumes: revision(2, { code: 'y' }).volumes });
    learn(store, {
      ...NOTHING,
      machines: [swapped],
      tables: [table(2, [['site-1-1', 2, 100]])],
      seen: ['site-1-1'],
    });
    expect(store.service('site')?.goal).toMatchObject({ revision: 2, replicas: 1 });
    expect(store.revision('site', 2)?.volumes).toEqual(revision(2, { code: 'y' }).volumes);
    expect(store.revision('site', 1)?.volumes).toEqual(revision(1).volumes);
  });

  it('takes what serves most for the goal, in the midst of a rollout, and says what else runs', () => {
    const store = stored();
    const { told } = learn(store, {
      ...NOTHING,
      machines: [machine('site-1-1', revision(1)), machine('site-2-1', revision(2, { image: 'b' }))],
      tables: [
        table(2, [
          ['site-1-1', 1, 100],
          ['site-2-1', 2, 0],
        ]),
      ],
      seen: ['site-1-1', 'site-2-1'],
    });
    expect(store.service('site')?.goal.revision).toBe(1);
    expect(told.join('\n')).toContain('others run, which the next rollout ends: site-2-1');
  });

  it('has policy, health and earlier revisions from what was written down, and a table where the data plane is gone too', () => {
    const store = stored();
    const service = {
      name: 'site',
      goal: goalOf(2, 3),
      policy: { ...POLICY, bake: 77 },
      health: HEALTH,
      warm: null,
      supervision: DEFAULT_SUPERVISION,
      gaveUp: null,
    };
    learn(store, {
      machines: [machine('site-2-1', revision(2))],
      tables: [],
      records: {
        services: [service],
        revisions: [{ ...revision(1), stableAt: 1 }, revision(2)],
        lastRollout: new Map([['site', 9]]),
      },
      seen: ['site-2-1'],
    });
    expect(store.service('site')).toEqual(service);
    expect(store.revisions('site').map(({ number, stableAt }) => [number, stableAt])).toEqual([
      [2, 100],
      [1, 1],
    ]);
    expect(store.table('site')).toMatchObject({
      routes: [{ instance: 'site-2-1', revision: 2, weight: 100 }],
    });
    expect(store.lastRollout()).toBe(9);
  });
});

describe('a store that is older than what runs', () => {
  it('is told by rollouts that it has never heard of, and learns where they have led', () => {
    const store = serving();
    const open = store.openRollout(rollout(0, goalOf(1, 2), goalOf(1, 3)));
    const found: Found = {
      ...NOTHING,
      machines: [machine('site-3-1', revision(2, { image: 'b' }))],
      tables: [table(9, [['site-3-1', 2, 100]])],
      seen: ['site-1-1', 'site-3-1'],
    };
    expect(isOlder(store, found)).toBe(true);
    learn(store, found);
    expect(store.service('site')).toMatchObject({ goal: { revision: 2 }, policy: POLICY });
    expect(store.rollout(open.id)).toMatchObject({ state: 'failed', reason: { code: 'UD_STATE_DAMAGED' } });
    expect(store.openRollouts()).toEqual([]);
    expect(isOlder(store, found)).toBe(false);
  });

  it('has a rollout under way go on, and launch nothing by a name that was there', () => {
    const store = serving();
    const open = store.openRollout(rollout(0, goalOf(1, 2), goalOf(1, 3)));
    const found: Found = {
      ...NOTHING,
      tables: [table(9, [['site-1-1', 1, 100]])],
      seen: ['site-2-3', 'site-2-1'],
    };
    expect(isOlder(store, found)).toBe(false);
    learn(store, found);
    expect(store.rollout(open.id)).toMatchObject({ state: 'open', launches: 3 });
    expect(store.table('site')).toMatchObject({ version: 9 });
  });

  it('learns of a swap, which launches nothing, by the table and by what was written down', () => {
    for (const written of [true, false]) {
      const store = serving();
      const goal = goalOf(2, 2);
      const service = {
        name: 'site',
        goal,
        policy: POLICY,
        health: HEALTH,
        warm: null,
        supervision: DEFAULT_SUPERVISION,
        gaveUp: null,
      };
      const records = {
        services: [service],
        revisions: [revision(2, { code: 'y' })],
        lastRollout: new Map([['site', 2]]),
      };
      const { volumes } = revision(2, { code: 'y' });
      learn(store, {
        machines: [
          machine('site-1-1', revision(1), { volumes }),
          machine('site-1-2', revision(1), { volumes }),
        ],
        tables: [
          table(9, [
            ['site-1-1', 2, 100],
            ['site-1-2', 2, 100],
          ]),
        ],
        records: written ? records : NOTHING.records,
        seen: ['site-1-1', 'site-1-2'],
      });
      expect(store.service('site')?.goal).toMatchObject({ revision: 2, replicas: 2 });
    }
  });
});

describe('a store that is whole', () => {
  it('learns numbers that were given, and no service', () => {
    const store = serving();
    const found = {
      ...NOTHING,
      machines: [machine('site-1-1', revision(7))],
      seen: ['site-1-1', 'other-1-1'],
    };
    const lesson = numbersOf(store, found);
    expect(lesson).toMatchObject({ services: [], tables: [], ended: [], lastRollout: 0 });
    store.learn(lesson, 100);
    const { number: _, stableAt: __, ...spec } = revision(1);
    expect(store.addRevision(spec).number).toBe(8);
    expect(store.services()).toHaveLength(1);
  });
});

it('a service of which nothing is known moves as a config has it that says nothing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'ud-rebuild-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const { writeFile } = await import('node:fs/promises');
  const file = join(folder, 'unideploy.yaml');
  await writeFile(file, 'service: site\nlisten: 0\nguest: {profile: linux, kernel: kernel}\n');
  const { rollout: policy, health } = await loadConfig(file);
  expect(DEFAULT_POLICY).toEqual(policy);
  expect(DEFAULT_HEALTH).toEqual(health);
});
