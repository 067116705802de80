import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, link, lstat, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Users, userFor } from '../../confinement.ts';
import type { Fence } from '../../domain/fence.ts';
import { canonical } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import type { InstanceSpec, Template, VirtualMachine } from '../port.ts';
import { commandOf } from './command.ts';
import { commandLine, type RamFile } from './command-line.ts';
import { Machine } from './machine.ts';
import { stopProcess } from './process.ts';
import { quit, resumeGuest } from './qmp/commands.ts';
import {
  createRunDirectory,
  livingPid,
  type RunDirectory,
  readJson,
  runDirectory,
  runIds,
  writeAtomically,
} from './run-directory.ts';
import { WRITTEN } from './run-files.ts';
import { loadState, saveState } from './saved-state.ts';
import type { Restorable } from './snapshot.ts';
import { qemuVersion } from './tools.ts';
import { until } from './wait.ts';

/** How a machine is started that does not simply boot. */
export interface Start {
  ram?: RamFile;
  incoming?: boolean;
  /** further groups of its user */
  groups?: number[];
  /** it goes on from what was saved */
  from?: Restorable;
  /** numbers of volumes that it has from elsewhere, in place of its own from 1 on */
  ledger?: string;
}

interface Parts {
  state: string;
  fence: Fence;
  qemu: string;
  accelOf: (spec: InstanceSpec) => Promise<'kvm' | 'tcg'>;
  users: () => Promise<Users>;
  boot: (machine: Machine, start: Start) => Promise<void>;
}

/** What is kept beside a template, and what shows that it is as it was made. */
interface Kept {
  spec: InstanceSpec;
  /** of the host: memory that was not written to the disk before the host stopped is another now */
  boot: string;
  ram: { size: number; mtimeMs: number };
  /** SHA-256 */
  state: string;
}

/** Milliseconds that saving and loading may take: both are over in a fraction of a second. */
const STATE_DEADLINE = 30_000;
/** Milliseconds that a guest rests before it is kept: what it has put off in its boot each of its copies would do again. */
const SETTLES_FOR = 1_000;
const QUITS_WITHIN = 5_000;

/** Name of the memory in the run directory of a copy, by which its QEMU opens it. */
const LENT_RAM = 'ram.img';

/**
 * Templates of a state: `<state>/templates/<key>/` has the memory of a guest that was ready, and the rest of its machine's
 * state. Its copies map the memory copy-on-write, so it must never change. Those that are being made have their run
 * directories in `<state>/templates/run/`, where nobody looks for members of a pool.
 */
export function templatesOf({ state, fence, qemu, accelOf, users, boot }: Parts) {
  const folder = join(resolve(state), 'templates');
  const placeOf = (key: string) => join(folder, key);
  let version: Promise<string> | null = null;

  /** A digest of everything that a copy must have in common with its template: QEMU's whole command line, above all. */
  async function keyOf(spec: InstanceSpec): Promise<string> {
    version ??= qemuVersion(qemu);
    const accel = await accelOf(spec);
    const volumes = spec.volumes.map((volume, index) => ({ ...volume, number: index + 1 }));
    const words = commandLine({ ...spec, id: 'template' }, { directory: { path: '/' }, accel, volumes });
    const { service, checks } = spec;
    const text = canonical({ service, checks, volumes, words, version: await version });
    return createHash('sha256').update(text).digest('hex').slice(0, 32);
  }

  /** Whom QEMU has to share a group with to open the memory of a template: it wants to be able to write, and never does. */
  async function groupOf(key: string): Promise<number | null> {
    return userFor(await users(), placeOf(key))?.uid ?? null;
  }

  async function keptOf(key: string): Promise<Kept | null> {
    const kept = await readJson<Kept>(join(placeOf(key), 'template.json'));
    return kept !== null && kept.boot === (await bootId()) ? kept : null;
  }

  /** Boots a guest, has it proven, and keeps it as the template of its key. What fails leaves nothing. */
  async function make(
    key: string,
    spec: InstanceSpec,
    prove: (guest: VirtualMachine) => Promise<void>,
  ): Promise<void> {
    const directory = runDirectory(folder, key.slice(0, 12));
    await discard(directory);
    const user = userFor(await users(), directory.path);
    const guest = { ...spec, id: `template-${key.slice(0, 12)}` };
    const machine = new Machine(guest, directory, commandOf(fence, directory), () => {});
    try {
      fence.check();
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await createRunDirectory(directory, guest, user);
      await boot(machine, { ram: { path: WRITTEN.ram, share: true } });
      await prove(await machine.observe());
      await pause(SETTLES_FOR);
      const saved = join(directory.path, 'state');
      await saveState(machine, user, saved, { ramInFile: true, deadlineMs: STATE_DEADLINE });
      await quit(await machine.connect()).catch(() => {});
      await until(() => livingPid(directory) === null, QUITS_WITHIN);
      await end(machine);
      await keep(key, spec, directory, saved);
    } finally {
      await end(machine).catch(() => {});
      await discard(directory);
    }
  }

  /** Puts together what makes a template, beside its place, and then there. */
  async function keep(
    key: string,
    spec: InstanceSpec,
    { ram, attachments, path }: RunDirectory,
    saved: string,
  ) {
    const { size, nlink, isFile } = await lstatOf(ram);
    if (!isFile || nlink !== 1 || size !== spec.machine.memory * 2 ** 20)
      throw broken(key, 'the memory of its guest is not what QEMU has made');
    commandOf(fence, { path } as RunDirectory)();
    const fresh = join(folder, `.${key}.new`);
    await rm(fresh, { recursive: true, force: true });
    await mkdir(fresh, { mode: 0o700 });
    await rename(ram, join(fresh, 'ram.img'));
    await rename(saved, join(fresh, 'state'));
    if (existsSync(attachments)) await rename(attachments, join(fresh, 'attachments.json'));
    const group = await groupOf(key);
    // Of the controller's: a copy that writes to it all the same cannot hide the time at which it did.
    if (group !== null) await chown(join(fresh, 'ram.img'), process.getuid?.() ?? 0, group);
    await chmod(join(fresh, 'ram.img'), group === null ? 0o600 : 0o460);
    const { mtimeMs } = await stat(join(fresh, 'ram.img'));
    const kept: Kept = {
      spec,
      boot: await bootId(),
      ram: { size, mtimeMs },
      state: await digestOf(join(fresh, 'state')),
    };
    await writeAtomically(join(fresh, 'template.json'), kept);
    fence.check();
    await rm(placeOf(key), { recursive: true, force: true });
    await rename(fresh, placeOf(key));
  }

  /** Starts a machine, whose run directory is there, as a copy; it runs when this resolves. Throws UD_TEMPLATE, UD_SAVED_STATE. */
  async function start(machine: Machine, key: string): Promise<void> {
    const { directory, expectCommand } = machine;
    const place = placeOf(key);
    const kept = await keptOf(key);
    if (kept === null) throw broken(key, 'it is not there');
    await expectWhole(key, kept);
    const lent = join(directory.path, LENT_RAM);
    const group = await groupOf(key);
    expectCommand();
    await link(join(place, 'ram.img'), lent);
    const ledger = join(place, 'attachments.json');
    await boot(machine, {
      ram: { path: LENT_RAM, share: false },
      incoming: true,
      ...(group !== null && { groups: [group] }),
      ...(existsSync(ledger) && { ledger }),
    });
    await loadState(machine, join(place, 'state'), { ramInFile: true, deadlineMs: STATE_DEADLINE });
    // QEMU has it open; under this name nobody else needs it.
    await rm(lent, { force: true });
    await resumeGuest(await machine.connect());
  }

  async function expectWhole(key: string, { ram, state: digest }: Kept): Promise<void> {
    const { size, mtimeMs } = await stat(join(placeOf(key), 'ram.img'));
    if (size !== ram.size || mtimeMs !== ram.mtimeMs) throw broken(key, 'its memory was changed');
    if ((await digestOf(join(placeOf(key), 'state'))) !== digest) throw broken(key, 'its state was changed');
  }

  async function list(): Promise<Template[]> {
    const keys = (await readdir(folder).catch(noFolder)).filter((name) => /^[0-9a-f]{32}$/.test(name));
    const found = keys.map(async (key): Promise<Template[]> => {
      const kept = await keptOf(key);
      if (kept === null) return [];
      const sizes = ['ram.img', 'state'].map(async (name) => {
        const at = await stat(join(placeOf(key), name)).catch(() => null);
        return (at?.blocks ?? 0) * 512;
      });
      const bytes = (await Promise.all(sizes)).reduce((sum, each) => sum + each, 0);
      return [{ key, service: kept.spec.service, revision: kept.spec.revision, bytes }];
    });
    return (await Promise.all(found)).flat();
  }

  async function remove(key: string): Promise<void> {
    fence.check();
    await rm(placeOf(key), { recursive: true, force: true });
  }

  /** Takes away what an earlier controller has not finished, and what is of no use since the host has booted again. */
  async function tidy(): Promise<void> {
    for (const id of await runIds(folder)) await discard(runDirectory(folder, id));
    for (const name of await readdir(folder).catch(noFolder)) {
      if (name === 'run' || (await keptOf(name)) !== null) continue;
      fence.check();
      await rm(join(folder, name), { recursive: true, force: true });
    }
  }

  /** Ends what runs in a run directory, and takes it away. */
  async function discard(directory: RunDirectory): Promise<void> {
    if (!existsSync(directory.path)) return;
    const expectCommand = commandOf(fence, directory);
    expectCommand();
    await stopProcess(directory, null, { graceMs: 0, commandMs: 0, expectCommand });
    await rm(directory.path, { recursive: true, force: true });
  }

  return {
    keyOf,
    isMade: async (key: string) => (await keptOf(key)) !== null,
    make,
    start,
    list,
    remove,
    tidy,
    discard,
  };
}

async function end(machine: Machine): Promise<void> {
  const { directory, expectCommand } = machine;
  machine.release();
  await stopProcess(directory, null, { graceMs: 0, commandMs: 0, expectCommand });
}

async function lstatOf(path: string) {
  const at = await lstat(path);
  return { size: at.size, nlink: at.nlink, isFile: at.isFile() };
}

async function digestOf(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

function noFolder(error: NodeJS.ErrnoException): [] {
  if (error.code !== 'ENOENT') throw error;
  return [];
}

function broken(key: string, why: string): UnideployError {
  return new UnideployError(
    'UD_TEMPLATE',
    `template ${key.slice(0, 12)} is of no use: ${why}`,
    'nothing is to be done: guests boot without it, and the next one is made from another guest',
  );
}
