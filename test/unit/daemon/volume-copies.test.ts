import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { VolumeCopies } from '../../../src/daemon/volume-copies.ts';
import { copyIdAt } from '../../../src/domain/data-copy.ts';
import type { CopyOrder, Hypervisor } from '../../../src/hypervisor/port.ts';
import { SimulatedWorld } from '../../../src/hypervisor/simulated/world.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';

const NEVER = new AbortController().signal;
const WISH = { full: false, rate: 0, performer: 'me' };
const silent = () => {};

let root: string;
let now: number;
let orders: CopyOrder[];
/** what is on the disk */
let disk: string;
let store: ReturnType<typeof sqliteStore>;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ud-copies-'));
  now = Date.UTC(2026, 0, 2, 3, 4, 5, 6);
  orders = [];
  disk = 'one';
  store = sqliteStore(':memory:');
  onTestFinished(async () => {
    store.close();
    await rm(root, { recursive: true, force: true });
  });
});

function copies(change: Partial<Hypervisor> = {}): VolumeCopies {
  const clock = { now: () => now++, sleep: async () => {} };
  const hypervisor: Hypervisor = {
    ...new SimulatedWorld(clock).hypervisor,
    async copyData(_service, _volume, order) {
      orders.push(order);
      await order.around(async () => {});
      await writeFile(order.to, disk);
      const on = order.base?.id ?? null;
      return { instance: 'site-1-1', revision: 1, size: 3, copied: 3, on, why: on === null ? 'first' : null };
    },
    ...change,
  };
  return new VolumeCopies(root, { hypervisor, tell: async () => {}, clock, store, onJournal: silent });
}

const folder = () => join(root, 'site', 'db');

test('ids are the time, and in its order', () => {
  expect(copyIdAt(now)).toBe('20260102-030405-006');
  expect(copyIdAt(now) < copyIdAt(now + 1)).toBe(true);
});

test('a copy is listed with what is known of it, and the next is made of it', async () => {
  const kept = copies();
  const first = await kept.make('site', 'db', WISH, silent, NEVER);
  disk = 'two';
  const second = await kept.make('site', 'db', WISH, silent, NEVER);
  expect(await kept.list('site')).toEqual([first, second]);
  expect(second).toMatchObject({ on: first.id, instance: 'site-1-1', still: null });
  expect(orders.map(({ last }) => last)).toEqual([null, first.id]);
  expect(await readdir(folder())).toEqual([
    `${first.id}.json`,
    `${first.id}.qcow2`,
    `${second.id}.json`,
    `${second.id}.qcow2`,
  ]);
  expect(store.journal(0, 0)).toMatchObject([
    { event: 'data-copied', copy: first.id, of: null, by: 'me' },
    { event: 'data-copied', copy: second.id, of: first.id, by: 'me' },
  ]);
});

test('none is made of one that was altered, and such a one is not put back', async () => {
  const kept = copies();
  const { id } = await kept.make('site', 'db', WISH, silent, NEVER);
  const file = join(folder(), `${id}.qcow2`);
  await chmod(file, 0o600);
  await writeFile(file, 'altered');
  expect((await kept.make('site', 'db', WISH, silent, NEVER)).on).toBeNull();
  await expect(kept.restore('site', 'db', id, 'me')).rejects.toMatchObject({ code: 'UD_COPY_FAILED' });
});

test('whoever asks for a whole one gets it, and the record of the last stays until then', async () => {
  const kept = copies();
  const { id } = await kept.make('site', 'db', WISH, silent, NEVER);
  await kept.make('site', 'db', { ...WISH, full: true }, silent, NEVER);
  expect(orders.at(-1)).toMatchObject({ base: null, last: id });
});

test('one that fails, or is cancelled at its very end, leaves nothing', async () => {
  const failing = copies({
    copyData: async (_service, _volume, { to }) => {
      await writeFile(to, 'half');
      throw new Error('it broke');
    },
  });
  await expect(failing.make('site', 'db', WISH, silent, NEVER)).rejects.toThrow('it broke');
  const cancelled = copies().make('site', 'db', WISH, silent, AbortSignal.abort());
  await expect(cancelled).rejects.toMatchObject({ code: 'UD_ABORTED' });
  expect(await readdir(folder())).toEqual([]);
});

test('what is half done goes when a controller begins, and nothing else', async () => {
  const kept = copies();
  const { id } = await kept.make('site', 'db', WISH, silent, NEVER);
  for (const name of ['20260101-000000-000.qcow2', '20260101-000000-000.qcow2.new', `${id}.json.7.new`])
    await writeFile(join(folder(), name), '');
  await kept.tidy();
  expect(await readdir(folder())).toEqual([`${id}.json`, `${id}.qcow2`]);
});

test('what is no copy is told so, whatever it is called', async () => {
  const kept = copies();
  await mkdir(folder(), { recursive: true });
  for (const id of ['20260101-000000-000', '../db', '', '..'])
    await expect(kept.remove('site', 'db', id, 'me')).rejects.toMatchObject({ code: 'UD_UNKNOWN_COPY' });
  for (const name of ['..', 'a/b', ''])
    await expect(kept.read('site', name, '1')).rejects.toMatchObject({ code: 'UD_UNKNOWN_VOLUME' });
  expect(await kept.list('../..')).toEqual([]);
});

test('a copy that is removed is gone', async () => {
  const kept = copies();
  const { id } = await kept.make('site', 'db', WISH, silent, NEVER);
  await kept.remove('site', 'db', id, 'me');
  expect(await kept.list('site')).toEqual([]);
  expect(await readdir(folder())).toEqual([]);
});
