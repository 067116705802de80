import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import {
  type ProcessRecord,
  readRecords,
  tablesOnDisk,
  writeRecord,
} from '../../../src/proxy/haproxy/records.ts';

const RECORD: ProcessRecord = {
  id: 'site-a1b2c3',
  pid: 7,
  role: 'serving',
  listen: { host: '127.0.0.1', port: 8080 },
  since: 5,
  services: [],
};

it.each(['', '{"id": "site-a1', '\0\0', 'null', '{"id": "site-a1b2c3"}'])(
  'a torn record of an HAProxy process counts as one that is only starting, which ends: %j',
  async (text) => {
    const folder = await mkdtemp(join(tmpdir(), 'ud-records-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeRecord(folder, { ...RECORD, id: 'shop-d4e5f6' }, () => {});
    await writeFile(join(folder, 'site-a1b2c3.json'), text);
    const records = await readRecords(folder);
    expect(records.map(({ id, role }) => `${id} ${role}`).sort()).toEqual([
      'shop-d4e5f6 serving',
      'site-a1b2c3 starting',
    ]);
    expect(await tablesOnDisk(folder)).toEqual([]);
  },
);
