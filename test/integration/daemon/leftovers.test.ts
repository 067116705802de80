import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { end, isAlive } from '../../support/cli/processes.ts';
import { prepare } from '../../support/cli/revisions.ts';
import { takeDown } from '../../support/cli/take-down.ts';
import { openWorkplace, serving, type Workplace } from '../../support/cli/workplace.ts';
import type { Load } from '../../support/http/load.ts';
import { eventually } from '../../support/qemu/asking.ts';

let place: Workplace;
let load: Load;
/** another state folder, whose name begins as the first one's */
let other: string;
const started: number[] = [];

beforeAll(async () => {
  place = await openWorkplace();
  other = await mkdtemp(join(tmpdir(), 'ud-other-'));
  await prepare(place, 'one', { replicas: 1 });
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
  load = await place.load();
});

afterAll(async () => {
  const { failures } = await load.stop();
  for (const pid of started) end(pid, 'SIGKILL');
  await rm(other, { recursive: true });
  await rm(join(place.state, 'run', 'ghost-1-9'), { recursive: true });
  await takeDown(place);
  expect(failures).toEqual([]);
});

/** A QEMU that has nothing to boot, with the run directory of an instance of a service that nobody knows. */
async function ghost(state: string, id: string): Promise<{ pid: number; directory: string }> {
  const directory = join(state, 'run', id);
  await mkdir(directory, { recursive: true });
  const spec = JSON.parse(await readFile(join(place.state, 'run', 'site-1-1', 'spec.json'), 'utf8'));
  await writeFile(join(directory, 'spec.json'), JSON.stringify({ ...spec, id, service: 'ghost' }));
  await writeFile(join(directory, 'qemu.log'), '');
  const words = ['-name', `guest=${directory}`, '-machine', 'none', '-display', 'none', '-S'];
  const { pid = 0 } = execa('qemu-system-x86_64', words, { cwd: directory, stdio: 'ignore', reject: false });
  await writeFile(join(directory, 'qemu.pid'), `${pid}\n`);
  started.push(pid);
  return { pid, directory };
}

async function stray(config: string): Promise<number> {
  const { pid = 0 } = execa(process.execPath, ['-e', 'setInterval(() => {}, 1000)', '--', '-f', config], {
    reject: false,
  });
  started.push(pid);
  return pid;
}

it('what nobody owns is listed by doctor and removed by the controller; what is owned, evidence, or of another state is not', async () => {
  const [known, gone, kept] = [
    await ghost(place.state, 'ghost-1-1'),
    await ghost(place.state, 'ghost-1-2'),
    await ghost(place.state, 'ghost-1-9'),
  ];
  const elsewhere = await ghost(other, 'ghost-1-1');
  await rm(gone.directory, { recursive: true });
  await writeFile(join(kept.directory, 'frozen'), '');
  const haproxy = await stray(join(place.state, 'haproxy', 'stray-1.cfg'));
  const files = [join(place.state, 'proxy.sock.99999999'), join(place.state, 'metrics-address.new')];
  for (const file of files) {
    await writeFile(file, '');
    await utimes(file, 0, 0);
  }

  const { stdout } = await place.cli(['doctor']);
  const listed = stdout.split('\n').filter((line) => line.includes('left over'));
  expect(listed).toEqual([
    expect.stringContaining(`ghost-1-1 (process ${known.pid}): there is no service ghost`),
    expect.stringContaining(`ghost-1-2 (process ${gone.pid}): its run directory is gone`),
    expect.stringContaining(`an HAProxy (process ${haproxy})`),
    ...files.sort().map((file) => expect.stringContaining(file)),
  ]);
  for (const line of listed) expect(line).toContain('the controller removes it within a minute');

  const removed = () =>
    ![known.pid, gone.pid, haproxy].some(isAlive) &&
    ![known.directory, ...files].some((path) => existsSync(path));
  await eventually('they are removed', removed, 110_000, 500);
  expect(isAlive(kept.pid)).toBe(true);
  expect(existsSync(kept.directory)).toBe(true);
  expect(isAlive(elsewhere.pid)).toBe(true);
  expect(serving(await place.status())).toEqual(['site-1-1 1 verified']);
  expect((await place.cli(['doctor'])).stdout).not.toContain('left over');
  expect(await readFile(join(place.state, 'controller.log'), 'utf8')).toContain('removes what nobody owns');
});
