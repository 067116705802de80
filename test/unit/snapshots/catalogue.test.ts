import { chmod, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Snapshot } from '../../../src/domain/snapshot.ts';
import { mismatch, snapshotId } from '../../../src/domain/snapshot.ts';
import { SNAPSHOT_FILES, SnapshotCatalogue } from '../../../src/snapshots/catalogue.ts';
import { temporaryFolder } from '../../integration/artifact/folder.ts';
import { revision } from '../../support/revisions.ts';

const { image, machine, volumes, checks } = revision(1);
const SPEC = { image, machine, volumes, checks };

function record(id: string, createdAt = 0): Omit<Snapshot, 'disk' | 'memory'> {
  return {
    ...{ id, service: 'site', instance: 'site-1-1', revision: 1, createdAt, createdBy: 'ana' },
    ...{
      spec: SPEC,
      attachments: [],
      nextAttachment: 2,
      qemu: '7.2.22',
      accel: 'tcg',
      ram: 'own',
      pausedMs: 1,
    },
  };
}

async function scene() {
  const root = await temporaryFolder();
  const catalogue = new SnapshotCatalogue(root);
  const take = async (id: string, createdAt?: number) => {
    const draft = await catalogue.begin('site', id);
    await writeFile(join(draft.folder, SNAPSHOT_FILES.memory), `memory of ${id}`);
    const snapshot = await draft.finish(record(id, createdAt));
    await draft.discard();
    return snapshot;
  };
  return { catalogue, take, names: () => readdir(join(root, 'site')) };
}

describe('the catalogue of snapshots', () => {
  it('has what is finished, newest first, and nothing else', async () => {
    const { catalogue, take, names } = await scene();
    await take('one', 1);
    const two = await take('two', 2);
    const draft = await catalogue.begin('site', 'three');
    expect((await catalogue.list('site')).map(({ id }) => id)).toEqual(['two', 'one']);
    await draft.discard();
    expect((await names()).sort()).toEqual(['one', 'two']);
    expect(await catalogue.need('site', 'two')).toEqual(two);
    expect(two).toMatchObject({ disk: null, memory: { bytes: 13 } });
    expect(await catalogue.list('other')).toEqual([]);
  });

  it('takes one of a name once', async () => {
    const { catalogue, take } = await scene();
    await take('one');
    await expect(catalogue.begin('site', 'one')).rejects.toMatchObject({ code: 'UD_LOCKED' });
    await catalogue.begin('site', 'two');
    await expect(catalogue.begin('site', 'two')).rejects.toMatchObject({ code: 'UD_LOCKED' });
  });

  it('finds out what was changed, and what is missing', async () => {
    const { catalogue, take } = await scene();
    const one = await take('one');
    await catalogue.verify(one);
    const memory = catalogue.path('site', 'one', 'memory');
    await chmod(memory, 0o600);
    await writeFile(memory, 'memory of owe');
    await expect(catalogue.verify(one)).rejects.toMatchObject({ code: 'UD_ARTIFACT_CORRUPT' });
    await rm(memory);
    await expect(catalogue.verify(one)).rejects.toMatchObject({ code: 'UD_ARTIFACT_MISSING' });

    const file = catalogue.path('site', 'one', 'record');
    await chmod(file, 0o600);
    await writeFile(file, JSON.stringify({ ...one, revision: 2 }));
    await expect(catalogue.need('site', 'one')).rejects.toMatchObject({ code: 'UD_ARTIFACT_CORRUPT' });
    expect(await catalogue.list('site')).toEqual([{ id: 'one', snapshot: null }]);
    expect(await catalogue.all()).toEqual([]);
  });

  it('removes one, once or twice, a damaged one too', async () => {
    const { catalogue, take, names } = await scene();
    await take('one');
    await rm(catalogue.path('site', 'one', 'record'));
    await catalogue.remove('site', 'one');
    await catalogue.remove('site', 'one');
    expect(await names()).toEqual([]);
  });

  it.each(['../../etc', 'a/b', '', '..', '.one.1.new'.replace('.one', '/one')])(
    'looks for %j nowhere else',
    async (id) => {
      const { catalogue } = await scene();
      await expect(catalogue.need('site', id)).rejects.toMatchObject({ code: 'UD_UNKNOWN_SNAPSHOT' });
      await expect(catalogue.remove('site', id)).rejects.toMatchObject({ code: 'UD_UNKNOWN_SNAPSHOT' });
    },
  );
});

describe('a snapshot', () => {
  it('is called by its instance and the time in UTC', () => {
    expect(snapshotId('site-3-1', Date.UTC(2026, 10, 29, 13, 5, 1))).toBe('site-3-1-20261129130501');
  });

  it('is of one image, one shape of machine, and its very volumes', () => {
    const of = { spec: SPEC };
    expect(mismatch(of, SPEC)).toBeNull();
    expect(mismatch(of, revision(2, { image: 'b' }))).toBe('another image');
    expect(mismatch(of, revision(2, { code: 'y' }))).toBe('other code volumes');
    expect(mismatch(of, { ...SPEC, machine: { ...machine, memory: machine.memory + 1 } })).toBe(
      'a machine of another shape',
    );
  });
});
