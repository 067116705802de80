import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import type { RoutingTable } from '../../../src/proxy/port.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { goalOf, HEALTH, POLICY, rollout } from '../../support/revisions.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unideploy-store-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const TRAFFIC = { ...DEFAULT_TRAFFIC, sticky: { cookie: 'shop' } };
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
  before.putService({ name: 'site', goal, policy: POLICY, health: HEALTH, warm: null });
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

  it('that knows less of it than this version is read with the defaults of the rest', () => {
    const store = reopened((db) => {
      db.exec("update services set body = json_remove(body, '$.goal.traffic.accessLog')");
    });
    expect(store.service('site')?.goal.traffic).toEqual(TRAFFIC);
    store.close();
  });
});
