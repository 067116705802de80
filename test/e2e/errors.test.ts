import { existsSync } from 'node:fs';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { delimiter, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { jsonRefusal, refusal } from '../support/cli/refusal.ts';
import { openWorkplace, type Running, type Workplace } from '../support/cli/workplace.ts';

let place: Workplace;

beforeEach(async () => {
  place = await openWorkplace();
});

afterEach(async () => {
  const left = place.processes().map(({ words }) => words.join(' '));
  await place.close();
  expect(left).toEqual([]);
});

const config = (text: string) => writeFile(join(place.project, 'unideploy.yaml'), text);

describe('a config that cannot be used', () => {
  it('is refused at the place of the mistake, file:line:column', async () => {
    await config('service: site\nreplicas: many\nlisten: 0\nguest:\n  profile: linux\n  kernel: k\n');
    const { message } = refusal(await place.cli(['up']), 'UD_CONFIG_INVALID');
    expect(message).toMatch(/^unideploy\.yaml:2:11: replicas is "many", expected a whole number/);
  });

  it('is refused for a key that nobody knows, and told the nearest', async () => {
    await place.configure({ rollout: { maxSurg: 1 } });
    const { message } = refusal(await place.cli(['up']), 'UD_CONFIG_INVALID');
    expect(message).toMatch(/^unideploy\.yaml:\d+:\d+: unknown key "maxSurg", did you mean "maxSurge"\?/);
    jsonRefusal(await place.cli(['up', '--json']), 'UD_CONFIG_INVALID');
  });

  it('is missed', async () => {
    await rm(join(place.project, 'unideploy.yaml'));
    expect(refusal(await place.cli(['up']), 'UD_CONFIG_NOT_FOUND').next).toContain('unideploy init');
    jsonRefusal(await place.cli(['up', '--json']), 'UD_CONFIG_NOT_FOUND');
  });

  it('names a kernel that does not exist', async () => {
    await place.configure({ guest: { kernel: 'no/kernel' } });
    const { message } = refusal(await place.cli(['up']), 'UD_FILE_NOT_FOUND');
    expect(message).toMatch(/^unideploy\.yaml:\d+:\d+: no\/kernel is no file: it does not exist$/);
  });

  it('names a source folder that does not exist', async () => {
    await place.configure({ volumes: [{ source: './nowhere' }] });
    const { message } = refusal(await place.cli(['up']), 'UD_FILE_NOT_FOUND');
    expect(message).toMatch(/^unideploy\.yaml:\d+:\d+: \.\/nowhere is no folder: it does not exist$/);
  });
});

describe('a machine on which something is missing', () => {
  it('has no QEMU', async () => {
    const env = { PATH: await pathWith('mksquashfs') };
    const { message, next } = refusal(await place.cli(['up'], env), 'UD_TOOL_MISSING');
    expect(message).toContain('qemu-system-x86_64 is not installed');
    expect(next).toContain('apt-get install qemu-system-x86');
    jsonRefusal(await place.cli(['up', '--json'], env), 'UD_TOOL_MISSING');
    const doctor = await place.cli(['doctor'], env);
    expect(doctor.exitCode).toBe(4);
    expect(doctor.stdout).toContain(
      'qemu-system-x86_64 (guests): not found. Next: apt-get install qemu-system-x86',
    );
  });

  it('has no mksquashfs', async () => {
    const { message, next } = refusal(await place.cli(['up'], { PATH: await pathWith() }), 'UD_TOOL_MISSING');
    expect(message).toContain('mksquashfs is not installed');
    expect(next).toContain('squashfs-tools');
  });

  it('has no room in a unix socket for so long a state folder', async () => {
    const state = join(place.state, 'a-folder-whose-name-is-far-too-long-for-the-address-of-a-unix-socket');
    for (const command of ['up', 'serve', 'status']) {
      const { next } = refusal(await place.cli([command, '--state', state]), 'UD_STATE_PATH');
      expect(next).toContain('shorter');
    }
  });

  it('cannot make the state folder', async () => {
    const state = join(place.project, 'unideploy.yaml', 'state');
    for (const command of ['up', 'serve'])
      refusal(await place.cli([command, '--state', state]), 'UD_STATE_PATH');
  });

  it('has the port in use: the first start leaves nothing running', async () => {
    const { server, port } = await occupy();
    await place.configure({ listen: port });
    try {
      const { message, next } = refusal(await place.cli(['up']), 'UD_PORT_IN_USE');
      expect(message).toContain(`127.0.0.1:${port}`);
      expect(next).toContain('listen');
      expect(place.processes()).toEqual([]);
      jsonRefusal(await place.cli(['up', '--json']), 'UD_PORT_IN_USE');
    } finally {
      server.close();
    }
  });
});

describe('a controller', () => {
  it('is missed by every command that needs one', async () => {
    const commands = ['rollout', 'plan', 'status', 'rollback', 'history', 'logs site-1-1', 'scale 3', 'down'];
    for (const command of commands) {
      const { next } = refusal(await place.cli(command.split(' ')), 'UD_CONTROLLER_NOT_RUNNING');
      expect(next).toContain('unideploy up');
    }
    jsonRefusal(await place.cli(['rollout', '--json']), 'UD_CONTROLLER_NOT_RUNNING');
  });

  it('is not taken for one that runs when it was killed and has left its socket', async () => {
    const { pid, outcome } = await place.serve();
    process.kill(pid, 'SIGKILL');
    await outcome;
    refusal(await place.cli(['history']), 'UD_CONTROLLER_NOT_RUNNING');
  });

  it('ends by Ctrl-C and by SIGTERM, with exit code 0, and leaves its place to the next', async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const { pid, outcome } = await place.serve();
      process.kill(pid, signal);
      expect((await outcome).exitCode).toBe(0);
    }
  });
});

describe('while a controller runs without a service', () => {
  let shared: Workplace;
  let controller: Running;

  beforeAll(async () => {
    shared = await openWorkplace();
    controller = await shared.serve();
  });

  afterAll(async () => {
    process.kill(controller.pid, 'SIGTERM');
    await controller.outcome;
    const left = shared.processes();
    await shared.close();
    expect(left).toEqual([]);
  });

  it('a second one on the same state gives way', async () => {
    const { message } = refusal(await shared.cli(['serve']), 'UD_CONTROLLER_RUNNING');
    expect(message).toContain(shared.state);
    jsonRefusal(await shared.cli(['serve', '--json']), 'UD_CONTROLLER_RUNNING');
    expect(await shared.controllerPid()).toBe(controller.pid);
  });

  it('a service that does not run is unknown to every command', async () => {
    for (const command of [
      'rollback',
      'rollback 1',
      'scale 3',
      'history',
      'down',
      'status --service nobody',
    ]) {
      refusal(await shared.cli(command.split(' ')), 'UD_UNKNOWN_SERVICE');
    }
    refusal(await shared.cli(['history', '--service', 'No Such/Name']), 'UD_UNKNOWN_SERVICE');
    await rm(join(shared.project, 'unideploy.yaml'));
    const { next } = refusal(await shared.cli(['history']), 'UD_UNKNOWN_SERVICE');
    expect(next).toContain('--service');
    await shared.configure();
  });

  it('an instance that nobody knows has no logs', async () => {
    for (const id of ['site-9-9', '../../etc/passwd', 'NO', 'x'.repeat(300)]) {
      const { next } = refusal(await shared.cli(['logs', id]), 'UD_UNKNOWN_INSTANCE');
      expect(next).toContain('unideploy status');
    }
    jsonRefusal(await shared.cli(['logs', 'site-9-9', '--json']), 'UD_UNKNOWN_INSTANCE');
  });

  it('a first rollout that cannot be leaves the controller that was there before, and nothing else', async () => {
    const { server, port } = await occupy();
    await shared.configure({ listen: port });
    refusal(await shared.cli(['up']), 'UD_PORT_IN_USE');
    server.close();
    expect(await shared.controllerPid()).toBe(controller.pid);
    expect((await shared.cli(['status'])).stdout).toBe('nothing runs');
    await shared.configure();
  });
});

describe('a command line that is not understood', () => {
  it.each([
    ['rolout', "unknown command 'rolout' (Did you mean rollout?)", 'see unideploy --help'],
    ['status --wach', "unknown option '--wach' (Did you mean --watch?)", 'see unideploy status --help'],
    ['scale none', 'expected a whole number above 0', 'see unideploy scale --help'],
    ['logs', "missing required argument 'instance'", 'see unideploy logs --help'],
    ['history of everything', 'too many arguments', 'see unideploy history --help'],
    ['', 'no command was given', 'see unideploy --help'],
  ])('unideploy %s', async (line, cause, step) => {
    const args = line.split(' ').filter(Boolean);
    const { message, next } = refusal(await place.cli(args), 'UD_USAGE');
    expect(message).toContain(cause);
    expect(next).toBe(step);
    jsonRefusal(await place.cli([...args, '--json']), 'UD_USAGE');
  });

  it('init does not write over a config', async () => {
    const before = await place.cli(['init']);
    expect(refusal(before, 'UD_FILE_EXISTS').message).toContain('unideploy.yaml exists already');
  });

  it('init writes a config that is right but for the files it names', async () => {
    await rm(join(place.project, 'unideploy.yaml'));
    expect((await place.cli(['init'])).exitCode).toBe(0);
    refusal(await place.cli(['up']), 'UD_FILE_NOT_FOUND');
  });
});

/** A PATH with Node, and with nothing else than these programs. */
async function pathWith(...programs: string[]): Promise<string> {
  const folder = join(place.project, 'bin');
  await mkdir(folder, { recursive: true });
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/bin'];
  for (const program of programs) {
    const found = folders.map((each) => join(each, program)).find((path) => existsSync(path));
    if (found) await symlink(found, join(folder, program));
  }
  await symlink(process.execPath, join(folder, 'node'));
  return folder;
}

/** A port that another program has. */
async function occupy(): Promise<{ server: Server; port: number }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, port: (server.address() as AddressInfo).port };
}
