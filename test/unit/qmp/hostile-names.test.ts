import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deployRequest, serviceName } from '../../../src/daemon/messages.ts';
import type { Machine } from '../../../src/domain/revision.ts';
import { reserve } from '../../../src/hypervisor/qemu/attachments.ts';
import { commandLine } from '../../../src/hypervisor/qemu/command-line.ts';
import { runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { revision } from '../../support/revisions.ts';

const HOSTILE = [
  'a,b',
  'a,file.filename=/etc/passwd',
  'a"b',
  "a'b",
  'a b',
  'a\nb',
  'json:{"driver":"nbd"}',
  'nbd:localhost:1',
  'http://example.com/',
  '/dev/sda',
  '../../etc/passwd',
  '-readconfig',
  '$(id)',
  '%s',
  '\0',
  '',
];
const SPEC = { ...revision(1), id: 'site-1-1', revision: 1, rollout: 1, launchedAt: 0 };
const VOLUME = { number: 1, name: 'code', digest: 'c'.repeat(64), format: 'squashfs' as const };

let state: string;
beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'ud-names-'));
});
afterAll(() => rm(state, { recursive: true, force: true }));

describe.each(HOSTILE)('%j', (name) => {
  test('is no service, no instance and no volume', async () => {
    expect(serviceName.safeParse(name).success).toBe(false);
    expect(() => runDirectory(state, name)).toThrow(expect.objectContaining({ code: 'UD_UNKNOWN_INSTANCE' }));
    const volume = { ...VOLUME, name, size: 1, revision: null, probe: '/' };
    const directory = runDirectory(state, SPEC.id);
    await expect(reserve(directory, volume, [], () => {})).rejects.toMatchObject({
      code: 'UD_VOLUME_ATTACH',
    });
  });

  test('as the state folder is in one word of the command line, its commas doubled', () => {
    const path = `/srv/${name}/run/site-1-1`;
    const words = commandLine(SPEC, { directory: { path }, accel: 'tcg', volumes: [VOLUME] });
    expect(words[words.indexOf('-name') + 1]).toBe(`guest=${path.replaceAll(',', ',,')}`);
    const plain = commandLine(SPEC, { directory: { path: '/x' }, accel: 'tcg', volumes: [VOLUME] });
    expect(words.filter((_, index) => words[index - 1] !== '-name')).toEqual(
      plain.filter((_, index) => plain[index - 1] !== '-name'),
    );
  });
});

test('QEMU opens files by names that are made here, each with the driver that reads it', () => {
  const disk = { kind: 'disk', disk: 'd'.repeat(64), format: 'qcow2' } as const;
  const words = commandLine(
    { ...SPEC, image: disk },
    { directory: { path: '/x' }, accel: 'tcg', volumes: [VOLUME] },
  );
  const names: string[] = [];
  const drivers: unknown[] = [];
  const look = (node: Record<string, unknown>) => {
    drivers.push(node.driver);
    if (typeof node.filename === 'string') names.push(node.filename);
    for (const inner of [node.file, node.backing]) if (inner) look(inner as Record<string, unknown>);
  };
  for (const [index, word] of words.entries()) if (words[index - 1] === '-blockdev') look(JSON.parse(word));
  expect(drivers).toEqual(['qcow2', 'file', 'qcow2', 'file', 'raw', 'file']);
  expect(names).toEqual(['root.qcow2', `artifacts/${disk.disk}`, `artifacts/${VOLUME.digest}`]);
  expect(words).not.toContain('-drive');
});

test('what a client asks for is checked where it comes in', () => {
  const { spec } = deployRequest.shape;
  const machine = (change: Partial<Machine>) =>
    spec.safeParse({ ...specOf(), machine: { ...SPEC.machine, ...change } }).success;
  expect(machine({})).toBe(true);
  expect(machine({ cpu: 'max,+sse' })).toBe(true);
  expect(machine({ cpu: 'max -readconfig x' })).toBe(false);
  expect(machine({ cmdline: 'a\nb' })).toBe(false);
  for (const name of HOSTILE) {
    const volume = { name, digest: VOLUME.digest, format: 'raw', size: 1, revision: null, probe: '/' };
    expect(spec.safeParse({ ...specOf(), volumes: [volume] }).success).toBe(false);
    expect(spec.safeParse({ ...specOf(), image: { kind: 'disk', disk: name, format: 'raw' } }).success).toBe(
      false,
    );
  }
});

function specOf() {
  const { image, machine, checks } = SPEC;
  return { image, machine, volumes: [], checks };
}
