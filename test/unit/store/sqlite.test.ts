import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import Database from 'libsql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rolloutPolicy } from '../../../src/daemon/policy-message.ts';
import { NO_GATES } from '../../../src/domain/policy.ts';
import { underWay } from '../../../src/domain/rollout.ts';
import { DEFAULT_SUPERVISION } from '../../../src/domain/supervision.ts';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import type { RoutingTable } from '../../../src/proxy/port.ts';
import { examine } from '../../../src/store/good-copy.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { goalOf, HEALTH, POLICY, rollout } from '../../support/revisions.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unideploy-store-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const TRAFFIC = { ...DEFAULT_TRAFFIC, sticky: { cookie: 'shop', pages: 0 } };
const TABLE: RoutingTable = {
  service: 'site',
  version: 7,
  listen: { host: '127.0.0.1', port: 8080 },
  hold: false,
  preview: 2,
  traffic: TRAFFIC,
  routes: [{ instance: 'site-1-1', revision: 1, host: '127.0.0.1', port: 4000, weight: 100 }],
};

/** A store in a file, with one service, its rollout and its table; `then` may change the file between two controllers. */
function reopened(then: (db: Database.Database) => void = () => {}) {
  const file = join(folder, 'state.db');
  const before = sqliteStore(file);
  const goal = { ...goalOf(1, 2), traffic: TRAFFIC };
  before.putService({
    name: 'site',
    goal,
    policy: POLICY,
    health: HEALTH,
    supervision: DEFAULT_SUPERVISION,
    gaveUp: null,
    warm: null,
  });
  before.openRollout(rollout(1, goal, goal));
  before.putTable(TABLE);
  before.close();
  const db = new Database(file);
  then(db);
  db.close();
  return sqliteStore(file);
}

describe('a store', () => {
  it('gives the next controller how clients reach its services', () => {
    const store = reopened();
    expect(store.service('site')?.goal.traffic).toEqual(TRAFFIC);
    expect(store.rollout(1)).toMatchObject({ from: { traffic: TRAFFIC }, to: { traffic: TRAFFIC } });
    expect(store.table('site')).toEqual(TABLE);
    store.close();
  });

  it('loses nothing when another program looks into its database and leaves again', async () => {
    reopened().close();
    const file = join(folder, 'state.db');
    // as a controller does that starts again
    expect(examine(file).kind).toBe('good');
    const store = sqliteStore(file);
    const [open] = store.openRollouts();
    if (!open) expect.fail();
    const other = (script: string) =>
      execa(process.execPath, [
        '--input-type=module',
        '-e',
        `import Database from 'libsql'; ${script}`,
        file,
      ]);
    await other(
      `const db = new Database(process.argv[1]); db.exec('select count(*) from journal'); db.close();`,
    );
    store.append(open, 5, { event: 'waiting', reason: 'a boot' });
    const last = 'select max(at) as at from journal';
    const { stdout } = await other(`console.log(new Database(process.argv[1]).prepare('${last}').get().at);`);
    expect(stdout).toBe('5');
    store.close();
  });

  it('writes what a rollout is and the entry that says so together, and its last entry with the end of its service', () => {
    const store = reopened();
    const [open] = store.openRollouts();
    if (!open) expect.fail();
    store.record({ ...open, launches: 3 }, [{ at: 5, happening: { event: 'waiting', reason: 'a boot' } }]);
    expect(store.rollout(open.id)?.launches).toBe(3);
    expect(store.journal(open.id, 0).at(-1)).toMatchObject({ event: 'waiting', at: 5 });
    const ended = { ...open, to: goalOf(null, 0), state: 'succeeded', endedAt: 9 } as const;
    const said = { verdict: 'succeeded', reason: null, ms: 9, evidence: null, verified: true } as const;
    store.closeRollout(ended, { event: 'rollout-finished', ...said }, 'nothing');
    expect([store.services(), store.table('site'), store.openRollouts()]).toEqual([[], null, []]);
    store.close();
  });

  it('ends by no time what a rollout has left that could not even go back', () => {
    const store = reopened();
    const [open] = store.openRollouts();
    if (!open) expect.fail();
    const ended = { ...open, endedAt: 10, policy: { ...open.policy, warm: 500 } };
    const finished = {
      event: 'rollout-finished',
      reason: null,
      ms: 0,
      evidence: null,
      verified: true,
    } as const;
    store.closeRollout({ ...ended, state: 'succeeded' }, { ...finished, verdict: 'succeeded' }, 'warm');
    expect(store.service('site')?.warm).toEqual({ rollout: open.id, until: 510 });
    const next = store.openRollout(open);
    store.closeRollout({ ...next, state: 'failed', endedAt: 20 }, { ...finished, verdict: 'failed' }, 'pool');
    expect(store.service('site')).toMatchObject({ warm: null, goal: open.to });
    store.close();
  });

  it('keeps the policy of a service through what moves by another: a scale stands at no gate, the next rollout does', () => {
    const store = reopened();
    const [open] = store.openRollouts();
    if (!open) expect.fail();
    const end = { ...open, state: 'succeeded' as const, endedAt: 9, policy: { ...POLICY, bake: 60_000 } };
    const last = { event: 'rollout-resumed', controller: 1 } as const;
    store.closeRollout(end, last, 'nothing');
    expect(store.service('site')?.policy.bake).toBe(60_000);
    store.closeRollout({ ...end, kind: 'scale', policy: POLICY }, last, 'nothing');
    expect(store.service('site')?.policy.bake).toBe(60_000);
    store.close();
  });

  it('that was written before there was anything to say about that is read with what was so then', () => {
    const store = reopened((db) => {
      db.exec("update services set body = json_remove(body, '$.goal.traffic')");
      db.exec("update rollouts set body = json_remove(body, '$.from.traffic', '$.to.traffic')");
      db.exec("update tables set body = json_remove(body, '$.traffic', '$.preview')");
    });
    const goal = { ...goalOf(1, 2), traffic: DEFAULT_TRAFFIC };
    expect(store.service('site')?.goal).toEqual(goal);
    expect(store.services().map((service) => service.goal)).toEqual([goal]);
    for (const found of [store.rollout(1), store.openRollouts()[0], store.rollouts('site', 1)[0]])
      expect(found).toMatchObject({ from: goal, to: goal });
    expect(store.table('site')).toEqual({ ...TABLE, traffic: DEFAULT_TRAFFIC, preview: null });
    store.close();
  });

  it('that was written before instances were supervised is read as of a service that is', () => {
    const store = reopened((db) => {
      db.exec("update services set body = json_remove(body, '$.supervision', '$.gaveUp')");
      db.exec("update rollouts set body = json_remove(body, '$.supervision', '$.sick')");
    });
    expect(store.service('site')).toMatchObject({ supervision: DEFAULT_SUPERVISION, gaveUp: null });
    expect(store.rollout(1)).toMatchObject({ supervision: DEFAULT_SUPERVISION, sick: [] });
    store.close();
  });

  it('that was written before rollouts had gates and orders is read as of one that has none', () => {
    const then = [
      'strategy',
      'maxSurge',
      'maxUnavailable',
      'parallel',
      'drain',
      'stop',
      'verify',
      'deadline',
    ];
    const policy = Object.fromEntries(Object.entries(POLICY).filter(([key]) => then.includes(key)));
    const added = [
      'renew',
      'among',
      'ending',
      'gates',
      'paused',
      'full',
      'progressAt',
      'stood',
      'standingSince',
    ];
    const without = added.map((key) => `'$.${key}'`).join();
    const store = reopened((db) => {
      for (const table of ['services', 'rollouts'])
        db.prepare(`update ${table} set body = json_set(body, '$.policy', json(?))`).run(
          JSON.stringify(policy),
        );
      db.exec(`update rollouts set body = json_set(json_remove(body, ${without}), '$.since', 5000)`);
    });
    const read = { ...NO_GATES, keep: 10, ...policy, progressDeadline: POLICY.deadline };
    expect(store.service('site')?.policy).toEqual(read);
    expect(rolloutPolicy.parse(read)).toEqual(read);
    expect(store.openRollouts()).toEqual([
      {
        ...rollout(1, { ...goalOf(1, 2), traffic: TRAFFIC }, { ...goalOf(1, 2), traffic: TRAFFIC }),
        policy: read,
        renew: null,
        among: [],
        ending: null,
        ...underWay(5000),
      },
    ]);
    store.close();
  });

  it('that knows less of it than this version is read with the defaults of the rest', () => {
    const store = reopened((db) => {
      db.exec("update services set body = json_remove(body, '$.goal.traffic.accessLog')");
    });
    expect(store.service('site')?.goal.traffic).toEqual(TRAFFIC);
    store.close();
  });
});
