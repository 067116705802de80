import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { things } from '../../../src/daemon/debris.ts';
import { statePaths } from '../../../src/daemon/paths.ts';

/** A process id that no process has: they end at 2^22. */
const NOBODY = 99_999_999;

it('unfinished files are told from those that are, and from those that somebody is at', async () => {
  const root = await mkdtemp(join(tmpdir(), 'ud-debris-'));
  onTestFinished(() => rm(root, { recursive: true }));
  const left = [
    'artifacts/.put-99999999-0a1b2c3d-x',
    'clock.new',
    'haproxy/site-a1b2c3.json.new',
    `proxy.sock.${NOBODY}`,
    `proxy.sock.${NOBODY}.stale`,
    'records/site/service.json.new',
    'run/.site-1-1.new',
    `run/site-1-2/endpoint.json.${NOBODY}.new`,
  ];
  const busy = [`artifacts/.put-${process.pid}-0a1b2c3d-x`, `run/site-1-2/spec.json.${process.pid}.new`];
  const finished = ['state.db', 'state.db.good', 'proxy.sock', 'run/site-1-2/endpoint.json', 'proxy.log.1'];
  for (const path of [...left, ...busy, ...finished]) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), '');
    await utimes(join(root, path), 0, 0);
  }
  await writeFile(join(root, 'state.db.new'), 'being written just now');

  const found = (await things(statePaths(root))).flatMap((thing) => (thing.kind === 'file' ? [thing] : []));
  const paths = (isWriterAlive: boolean) =>
    found
      .filter((thing) => thing.isWriterAlive === isWriterAlive)
      .map(({ path }) => relative(root, path))
      .sort();
  expect(paths(false)).toEqual(left.sort());
  expect(paths(true)).toEqual([...busy, 'state.db.new'].sort());
});
