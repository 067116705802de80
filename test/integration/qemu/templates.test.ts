import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Hypervisor, InstanceSpec, VirtualMachine } from '../../../src/hypervisor/port.ts';
import { livingPid, runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { answersWith, ask, endpointOf, see } from '../../support/qemu/asking.ts';
import { type World, world } from '../../support/qemu/world.ts';

let here: World;
let hypervisor: Hypervisor;
let spec: (id: string) => InstanceSpec;
let key: string;

beforeAll(async () => {
  here = await world();
  hypervisor = here.hypervisor();
  const volume = await here.volume('first');
  spec = (id) => here.spec(id, { volumes: [volume] });
  ({ key } = await hypervisor.templateFor(spec('site-1-1')));
});
afterAll(() => here.end());

const ready = async ({ endpoint }: VirtualMachine) => {
  if (endpoint === null) throw new Error('no endpoint');
  await answersWith(endpoint, '/.unideploy/revision', 'first');
};
const templates = () => join(here.state, 'templates');
const asleep = async () => {};

describe('a template', () => {
  test('is of no guest that is not ready', async () => {
    const failing = hypervisor.makeTemplate(spec('site-1-1'), async () => {
      throw new Error('not ready');
    });
    await expect(failing).rejects.toThrow('not ready');
    expect(await hypervisor.templateFor(spec('site-1-1'))).toEqual({ key, isMade: false });
    expect(readdirSync(join(templates(), 'run'))).toEqual([]);
  });

  test('is made of a guest that is no member of a pool', async () => {
    let members: VirtualMachine[] = [];
    await hypervisor.makeTemplate(spec('site-1-1'), async (guest) => {
      await ready(guest);
      members = await hypervisor.list();
    });
    expect(members).toEqual([]);
    expect(await hypervisor.templateFor(spec('site-9-9'))).toEqual({ key, isMade: true });
    expect(await hypervisor.templates()).toMatchObject([{ key, service: 'site', revision: 1 }]);
    expect(readdirSync(join(templates(), 'run'))).toEqual([]);
  });

  test('is another one for another shape, volume or service', async () => {
    const { volumes } = spec('site-1-1');
    const others = [
      here.spec('site-1-1'),
      here.spec('site-1-1', { volumes, machine: { memory: 144 } }),
      { ...spec('site-1-1'), service: 'shop' },
    ];
    for (const other of others) expect(await hypervisor.templateFor(other)).toMatchObject({ isMade: false });
  });
});

describe('a copy', () => {
  const ID = 'site-2-1';

  test('runs where its parent stood, and is shown to nobody before it has been woken', async () => {
    let seen: VirtualMachine | null = null;
    let mac = '';
    await hypervisor.launch(spec(ID), {
      key,
      wake: async (guest) => {
        mac = guest.mac;
        seen = await see(hypervisor, ID);
        expect((await ask(guest.endpoint, '/.unideploy/revision', 5_000)).body).toBe('first');
      },
    });
    expect(seen).toMatchObject({ state: 'starting', endpoint: null });
    expect(mac).toMatch(/^52:54:00:/);
    expect(await see(hypervisor, ID)).toMatchObject({
      state: 'running',
      runState: 'running',
      volumes: [{ name: 'code' }],
    });
  });

  test('takes new volumes, and lets go of the one that it was born with', async () => {
    const next = await here.volume('second');
    await hypervisor.attachVolume(ID, next);
    await answersWith(await endpointOf(hypervisor, ID), '/.unideploy/revision', 'second');
    const [first] = spec(ID).volumes;
    if (first) await hypervisor.detachVolume(ID, first);
    expect((await see(hypervisor, ID)).volumes).toEqual([{ name: 'code', digest: next.digest }]);
    const ledger = JSON.parse(await readFile(runDirectory(here.state, ID).attachments, 'utf8'));
    expect(ledger.made.at(-1)).toMatchObject({ number: 2 });
  });

  test('is adopted by another controller', async () => {
    await hypervisor.close();
    hypervisor = here.hypervisor();
    expect(await see(hypervisor, ID)).toMatchObject({ state: 'running', runState: 'running' });
    await answersWith(await endpointOf(hypervisor, ID), '/.unideploy/revision', 'second');
  });

  test('shares a group with the copies of its template alone', async () => {
    // Without users of their own all guests are the controller's.
    if (process.getuid?.() !== 0) return;
    const statusOf = (id: string) =>
      readFileSync(`/proc/${readFileSync(runDirectory(here.state, id).pid, 'utf8').trim()}/status`, 'utf8');
    const groupsOf = (id: string) => /^Groups:[ \t]*(.*)$/m.exec(statusOf(id))?.[1]?.trim();
    const { gid, mode, uid } = statSync(join(templates(), key, 'ram.img'));
    expect(groupsOf(ID)).toBe(String(gid));
    expect(/^Uid:[ \t]*(\d+)/m.exec(statusOf(ID))?.[1]).not.toBe(String(uid));
    expect(mode & 0o777).toBe(0o460);
    await hypervisor.launch(spec('site-2-9'));
    expect(groupsOf('site-2-9')).toBe('');
    await hypervisor.stop('site-2-9', 0);
    await hypervisor.remove('site-2-9');
    expect(existsSync(join(runDirectory(here.state, ID).path, 'ram.img'))).toBe(false);
  });

  test('leaves the memory of its template as it was', async () => {
    const before = await readFile(join(templates(), key, 'ram.img'));
    await hypervisor.launch(spec('site-2-2'), { key, wake: asleep });
    await answersWith(await endpointOf(hypervisor, 'site-2-2'), '/.unideploy/revision', 'first');
    expect(before.equals(await readFile(join(templates(), key, 'ram.img')))).toBe(true);
  });

  test('that nobody could wake leaves nothing, and can be booted', async () => {
    const launching = hypervisor.launch(spec('site-2-3'), {
      key,
      wake: async () => {
        throw new Error('deaf');
      },
    });
    await expect(launching).rejects.toThrow('deaf');
    expect((await hypervisor.list()).map(({ spec: { id } }) => id)).not.toContain('site-2-3');
    await hypervisor.launch(spec('site-2-3'));
    await answersWith(await endpointOf(hypervisor, 'site-2-3'), '/.unideploy/revision', 'first');
  });

  test('that a controller had not woken when it died is taken away by the next', async () => {
    const stuck = hypervisor.launch(spec('site-2-4'), { key, wake: () => new Promise(() => {}) });
    stuck.catch(() => {});
    const directory = runDirectory(here.state, 'site-2-4');
    await expect.poll(() => livingPid(directory), { timeout: 5_000 }).not.toBeNull();
    const next = here.hypervisor();
    expect((await next.list()).map(({ spec: { id } }) => id).sort()).toEqual([
      'site-2-1',
      'site-2-2',
      'site-2-3',
    ]);
    expect(existsSync(directory.path)).toBe(false);
    await hypervisor.close();
    hypervisor = next;
  });
});

describe('a template that is not as it was made', () => {
  const remade = () => hypervisor.makeTemplate(spec('site-3-1'), ready);
  const copied = () => hypervisor.launch(spec('site-3-1'), { key, wake: asleep });

  test('is not copied where its memory was written to', async () => {
    const ram = join(templates(), key, 'ram.img');
    await chmod(ram, 0o600);
    await writeFile(ram, 'x', { flag: 'r+' });
    await expect(copied()).rejects.toMatchObject({ code: 'UD_TEMPLATE' });
    await remade();
    await copied();
    await hypervisor.stop('site-3-1', 0);
    await hypervisor.remove('site-3-1');
  });

  test('is not copied where its state was', async () => {
    await writeFile(join(templates(), key, 'state'), 'x', { flag: 'r+' });
    await expect(copied()).rejects.toMatchObject({ code: 'UD_TEMPLATE' });
  });

  test('goes when it is removed, and with the host', async () => {
    await hypervisor.removeTemplate(key);
    expect(await hypervisor.templates()).toEqual([]);
    await remade();
    const file = join(templates(), key, 'template.json');
    await writeFile(file, (await readFile(file, 'utf8')).replace(/"boot": "[^"]*"/, '"boot": "another"'));
    expect(await hypervisor.templateFor(spec('site-3-1'))).toEqual({ key, isMade: false });
    const next = here.hypervisor();
    await next.list();
    expect(readdirSync(templates())).toEqual(['run']);
  });
});
