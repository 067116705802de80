import type Database from 'libsql';
import { type Fence, UNFENCED } from '../domain/fence.ts';
import { type Happening, isOrder, type JournalEntry } from '../domain/journal.ts';
import type { Revision } from '../domain/revision.ts';
import { isByConfig, type Rollout } from '../domain/rollout.ts';
import { UnideployError } from '../errors.ts';
import { readRevision, readRollout, readService, readTable } from './earlier.ts';
import { fenceWrites, refusedByFence } from './fence.ts';
import { copyDatabase, openDatabase } from './good-copy.ts';
import type { Service, Store } from './port.ts';

const SCHEMA = `
  create table if not exists services (name text primary key, body text not null) strict;
  create table if not exists revisions (
    service text not null, number integer not null, body text not null, stable_at integer,
    primary key (service, number)) strict;
  create table if not exists rollouts (
    id integer primary key autoincrement, service text not null, open integer not null, body text not null) strict;
  create unique index if not exists one_open_rollout on rollouts (service) where open = 1;
  create table if not exists journal (
    seq integer primary key autoincrement, service text not null, rollout integer not null, at integer not null,
    body text not null) strict;
  create index if not exists journal_by_rollout on journal (rollout, seq);
  create table if not exists tables (service text primary key, body text not null) strict;
  create table if not exists given_revisions (service text primary key, number integer not null) strict;
`;

/** How long another writer is waited for, in ms: a late controller that ends its last transaction, a person's query. */
const BUSY_FOR = 2_000;

interface JournalRow {
  seq: number;
  service: string;
  rollout: number;
  at: number;
  body: string;
}

/**
 * The store in one SQLite file; `:memory:` for a store that ends with the process. Once a store of a newer fence has been
 * opened on the file, this one writes no more: every call that would ends with UD_FENCED.
 */
export function sqliteStore(file: string, fence: Fence = UNFENCED): Store {
  const db = openDatabase(file, { timeout: BUSY_FOR });
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.exec(SCHEMA);
    fenceWrites(db, fence);
  } catch (error) {
    db.close();
    throw error;
  }
  /** Whole, or not at all. SQLite itself may have undone it already, on a full disk for one: then there is nothing to undo. */
  const atomically =
    <A extends unknown[], R>(change: (...args: A) => R) =>
    (...args: A): R => {
      db.exec('begin');
      try {
        const result = change(...args);
        db.exec('commit');
        return result;
      } catch (error) {
        if (db.inTransaction) db.exec('rollback');
        throw error;
      }
    };
  const statements = new Map<string, Database.Statement>();
  const sql = (text: string) => {
    const known = statements.get(text) ?? db.prepare(text);
    statements.set(text, known);
    return known;
  };
  const bodies = <T>(read: (body: T) => T, text: string, ...values: unknown[]) =>
    (sql(text).all(...values) as { body: string }[]).map(({ body }) => read(JSON.parse(body)));
  const body = <T>(read: (body: T) => T, text: string, ...values: unknown[]) =>
    bodies(read, text, ...values)[0] ?? null;

  const toRevision = (row: { body: string; number: number; stable_at: number | null }): Revision => ({
    ...readRevision(JSON.parse(row.body) as Revision),
    number: row.number,
    stableAt: row.stable_at,
    pinned: (JSON.parse(row.body) as Partial<Revision>).pinned ?? null,
  });
  const revisions = (where: string, ...values: unknown[]) =>
    (
      sql(`select * from revisions where ${where} order by number desc`).all(...values) as Parameters<
        typeof toRevision
      >[0][]
    ).map(toRevision);

  const journal = (text: string, ...values: unknown[]): JournalEntry[] =>
    (sql(text).all(...values) as JournalRow[]).map(({ body: said, ...row }) => ({
      ...(JSON.parse(said) as Happening),
      ...row,
    }));
  const append = (
    rollout: Pick<Rollout, 'id' | 'service'>,
    at: number,
    happening: Happening,
  ): JournalEntry => {
    const { lastInsertRowid } = sql(
      'insert into journal (service, rollout, at, body) values (?, ?, ?, ?)',
    ).run(rollout.service, rollout.id, at, JSON.stringify(happening));
    return { ...happening, seq: Number(lastInsertRowid), service: rollout.service, rollout: rollout.id, at };
  };
  const putService = (service: Service) => {
    sql('insert or replace into services (name, body) values (?, ?)').run(
      service.name,
      JSON.stringify(service),
    );
  };
  const updateRollout = (rollout: Rollout) => {
    sql('update rollouts set open = ?, body = ? where id = ?').run(
      rollout.state === 'open' ? 1 : 0,
      JSON.stringify(rollout),
      rollout.id,
    );
  };

  /** Adds what is not there; what is there is taken for right, but that it may have become stable. */
  const putRevision = ({ number, stableAt, ...revision }: Revision) => {
    sql(
      `insert into revisions (service, number, body, stable_at) values (?, ?, ?, ?)
        on conflict do update set stable_at = coalesce(stable_at, excluded.stable_at)`,
    ).run(revision.service, number, JSON.stringify(revision), stableAt);
  };
  const lastRollout = (): number => {
    const row = sql("select seq from sqlite_sequence where name = 'rollouts'").get();
    return (row as { seq: number } | undefined)?.seq ?? 0;
  };
  const lastRolloutOf = (service: string): number => {
    const row = sql('select coalesce(max(id), 0) as id from rollouts where service = ?').get(service);
    return (row as { id: number }).id;
  };

  const removeService = (name: string) => {
    sql('delete from services where name = ?').run(name);
    sql('delete from tables where service = ?').run(name);
  };

  const store: Store = {
    services: () => bodies(readService, 'select body from services order by name'),
    service: (name) => body(readService, 'select body from services where name = ?', name),
    putService,
    removeService: atomically(removeService),

    addRevision: atomically((revision): Revision => {
      const row = sql(
        `select coalesce(max(number), 0) + 1 as number from (
          select number from revisions where service = ?1 union select number from given_revisions where service = ?1)`,
      ).get(revision.service) as { number: number };
      sql('insert into revisions (service, number, body) values (?, ?, ?)').run(
        revision.service,
        row.number,
        JSON.stringify(revision),
      );
      return { ...revision, number: row.number, stableAt: null, pinned: null };
    }),
    revision: (service, number) => revisions('service = ? and number = ?', service, number)[0] ?? null,
    revisions: (service) => revisions('service = ?', service),
    owners: () =>
      (sql('select distinct service from revisions order by service').all() as { service: string }[]).map(
        ({ service }) => service,
      ),
    pin(service, number, pin) {
      sql(
        "update revisions set body = json_set(body, '$.pinned', json(?)) where service = ? and number = ?",
      ).run(JSON.stringify(pin), service, number);
    },

    openRollout: atomically((rollout): Rollout => {
      const holder = body(
        readRollout,
        'select body from rollouts where service = ? and open = 1',
        rollout.service,
      );
      if (holder) throw locked(holder);
      const { lastInsertRowid } = sql("insert into rollouts (service, open, body) values (?, 1, '{}')").run(
        rollout.service,
      );
      const opened: Rollout = { ...rollout, id: Number(lastInsertRowid) };
      updateRollout(opened);
      append(opened, opened.startedAt, {
        event: 'rollout-started',
        kind: opened.kind,
        from: opened.from.revision,
        to: opened.to.revision,
        replicas: opened.to.replicas,
        strategy: opened.strategy,
        performer: opened.performer,
      });
      return opened;
    }),
    rollout: (id) => body(readRollout, 'select body from rollouts where id = ?', id),
    rollouts: (service, limit) =>
      bodies(
        readRollout,
        'select body from rollouts where service = ? order by id desc limit ?',
        service,
        limit,
      ),
    openRollouts: () => bodies(readRollout, 'select body from rollouts where open = 1 order by id'),
    updateRollout,
    closeRollout: atomically((rollout, happening, left) => {
      const { id, kind, service, policy, health, supervision, to, endedAt, state } = rollout;
      updateRollout(rollout);
      append(rollout, endedAt ?? rollout.since, happening);
      const before = body(readService, 'select body from services where name = ?', service);
      // What a rollout has left behind that could not even go back is a person's to look at: no time ends it.
      if (before && left === 'pool') putService({ ...before, warm: null });
      // A repair makes the service what it is already.
      if (state !== 'succeeded' || kind === 'repair') return;
      if (to.revision === null) {
        removeService(service);
        return;
      }
      const warm = left === 'warm' && endedAt !== null ? { rollout: id, until: endedAt + policy.warm } : null;
      const own = isByConfig(kind) ? null : before;
      putService({
        name: service,
        goal: to,
        policy: own?.policy ?? policy,
        health,
        supervision: own?.supervision ?? supervision,
        gaveUp: own?.gaveUp ?? null,
        warm,
      });
      sql('update revisions set stable_at = ? where service = ? and number = ?').run(
        endedAt,
        service,
        to.revision,
      );
    }),

    append,
    record: atomically((rollout, happened) => {
      updateRollout(rollout);
      for (const { at, happening } of happened) append(rollout, at, happening);
    }),
    journal: (rollout, after) =>
      journal('select * from journal where rollout = ? and seq > ? order by seq', rollout, after),
    audit: (service, limit) =>
      journal('select * from journal where service = ? order by seq desc limit ?', service, limit).reverse(),
    orders: (rollout, after) =>
      journal(
        // As many rows as a rollout has entries are looked at with every look at the pool: none is parsed that is no order.
        `select * from journal where rollout = ? and seq > ? and (body like '{"event":"ordered"%'
          or body like '{"event":"paused"%' or body like '{"event":"resumed"%') order by seq`,
        rollout,
        after,
      ).filter(isOrder),

    table: (service) => body(readTable, 'select body from tables where service = ?', service),
    putTable(table) {
      sql('insert or replace into tables (service, body) values (?, ?)').run(
        table.service,
        JSON.stringify(table),
      );
    },

    lastRollout,
    learn: atomically((lesson, at) => {
      for (const revision of lesson.revisions) putRevision(revision);
      for (const [service, number] of lesson.lastRevision)
        sql(
          `insert into given_revisions values (?, ?)
            on conflict (service) do update set number = max(number, excluded.number)`,
        ).run(service, number);
      if (lesson.lastRollout > lastRollout()) {
        sql("delete from sqlite_sequence where name = 'rollouts'").run();
        sql("insert into sqlite_sequence values ('rollouts', ?)").run(lesson.lastRollout);
      }
      for (const rollout of [...lesson.launched, ...lesson.ended]) updateRollout(rollout);
      for (const table of lesson.tables) store.putTable(table);
      for (const service of lesson.services) {
        putService(service);
        sql('update revisions set stable_at = coalesce(stable_at, ?) where service = ? and number = ?').run(
          at,
          service.name,
          service.goal.revision,
        );
        const about = { service: service.name, id: lastRolloutOf(service.name) };
        const told = lesson.told.filter((sentence) => sentence.startsWith(`${service.name}: `));
        append(about, at, { event: 'state-rebuilt', told });
      }
    }),
    copyTo: (file) => copyDatabase(db, file),
    close: () => {
      db.close();
    },
  };
  return refusedByFence(store);
}

function locked(holder: Rollout): UnideployError {
  return new UnideployError(
    'UD_LOCKED',
    `rollout ${holder.id} of ${holder.service}, started by ${holder.performer}, is still under way`,
    `wait for it (unideploy status --service ${holder.service} --watch), then try again`,
  );
}
