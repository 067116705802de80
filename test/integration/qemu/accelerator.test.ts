import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { probeGuest } from '../../../src/hypervisor/qemu/accelerator/probe.ts';
import { chooseAccelerator } from '../../../src/hypervisor/qemu/accelerator/verdicts.ts';
import { probeAccelerators } from '../../../src/hypervisor/qemu/index.ts';

let state: string;
beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'ud-'));
});
afterAll(() => rm(state, { recursive: true, force: true }));

test('a guest runs under TCG here, and KVM has a verdict with a reason', async () => {
  const verdicts = await probeAccelerators({ state });
  console.log(JSON.stringify(verdicts));
  expect(verdicts.map(({ accel }) => accel)).toEqual(['kvm', 'tcg']);
  expect(verdicts.find(({ accel }) => accel === 'tcg')).toMatchObject({ works: true });
  for (const { reason } of verdicts) expect(reason).not.toBe('');
});

test('the verdict is kept until the host boots again', async () => {
  const file = join(state, 'accel.json');
  const kept = JSON.parse(await readFile(file, 'utf8'));
  kept.verdicts[0].reason = 'as it was found';
  await writeFile(file, JSON.stringify(kept));
  expect((await probeAccelerators({ state }))[0]?.reason).toBe('as it was found');
  await writeFile(file, JSON.stringify({ ...kept, key: 'another boot' }));
  expect((await probeAccelerators({ state }))[0]?.reason).not.toBe('as it was found');
});

test('auto falls back, kvm by name does not', async () => {
  const broken = async () => [{ accel: 'kvm' as const, works: false, reason: 'it interprets' }];
  const sound = async () => [{ accel: 'kvm' as const, works: true, reason: '' }];
  expect(await chooseAccelerator('auto', broken)).toBe('tcg');
  expect(await chooseAccelerator('auto', sound)).toBe('kvm');
  await expect(chooseAccelerator('kvm', broken)).rejects.toMatchObject({ code: 'UD_ACCEL' });
});

test('the bytes of the probe guest are those of its source', async () => {
  const source = fileURLToPath(new URL('../../../src/hypervisor/qemu/accelerator/probe.S', import.meta.url));
  const folder = await mkdtemp(join(tmpdir(), 'ud-probe-'));
  const run = (program: string, ...words: string[]) =>
    execFileSync(program, words, { cwd: folder, stdio: 'pipe' });
  run('as', '--64', source, '-o', 'probe.o');
  const link = [
    '-N',
    '-z',
    'noseparate-code',
    '-Ttext',
    '0x100000',
    '-e',
    'start32',
    '--build-id=none',
    '-s',
  ];
  run('ld', '-m', 'elf_x86_64', ...link, '-o', 'probe.elf', 'probe.o');
  await writeFile(join(folder, 'kept.elf'), probeGuest());
  for (const name of ['probe', 'kept'])
    run('objcopy', '-O', 'binary', '-j', '.text', `${name}.elf`, `${name}.text`);
  expect(await readFile(join(folder, 'kept.text'))).toEqual(await readFile(join(folder, 'probe.text')));
  await rm(folder, { recursive: true, force: true });
});
