import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { User } from '../../confinement.ts';
import { isHostTrouble, UnideployError } from '../../errors.ts';
import type { Endpoint, InstanceSpec } from '../port.ts';
import { openTo, WRITTEN } from './run-files.ts';

/** Everything one machine leaves on this host, besides its process. */
export interface RunDirectory {
  path: string;
  spec: string;
  /** the same once more, for the case that the first is torn */
  specCopy: string;
  /** the process id, written by whoever started it */
  pid: string;
  /** the monitor of the controller, its one client */
  monitor: string;
  /** another one for it, while a controller that was stopped holds the first */
  spare: string;
  /** a second monitor, for people and other tools */
  debug: string;
  /** the guest's serial console */
  console: string;
  /** QEMU's own output */
  log: string;
  /** which volumes were ever attached, and the next free number */
  attachments: string;
  /** where the application is reached, once QEMU has told */
  endpoint: string;
  /** per-instance overlay over a root disk of the store */
  root: string;
  /** there: the machine is frozen */
  frozen: string;
  /** there: the guest stands still while it is being saved, and is to go on */
  saving: string;
  /** there: it is the twin of another guest, or is to be, and does not know it yet */
  unwoken: string;
  /** the guest's memory while it is written */
  memory: string;
  /** the guest's memory itself, where it is kept in a file */
  ram: string;
  /** where QEMU takes a saved state */
  incoming: string;
  /** where it hands its own over; of the controller, like all that is not in `own` */
  outgoing: string;
}

/** By this name QEMU finds, from its run directory, who takes its state. */
export const OUTGOING = 'outgoing';

/** sun_path of unix(7) holds 108 bytes, the last of them zero. */
const SOCKET_PATH_LIMIT = 107;

/** Names the files of an instance. Throws UD_STATE_PATH when its sockets could not be opened. */
export function runDirectory(state: string, id: string): RunDirectory {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(id))
    throw new UnideployError(
      'UD_UNKNOWN_INSTANCE',
      `"${id}" cannot be the id of an instance`,
      'list the instances with: unideploy status',
    );
  const path = join(resolve(state), 'run', id);
  const written = isOfEarlierVersion(path) ? WRITTEN_EARLIER : WRITTEN;
  const directory = {
    path,
    spec: join(path, 'spec.json'),
    specCopy: join(path, 'spec.copy.json'),
    pid: join(path, 'qemu.pid'),
    monitor: join(path, written.monitor),
    spare: join(path, written.spare),
    debug: join(path, written.debug),
    console: join(path, written.console),
    log: join(path, 'qemu.log'),
    attachments: join(path, 'attachments.json'),
    endpoint: join(path, 'endpoint.json'),
    root: join(path, written.root),
    frozen: join(path, 'frozen'),
    saving: join(path, 'saving'),
    unwoken: join(path, 'unwoken'),
    memory: join(path, written.memory),
    ram: join(path, written.ram),
    incoming: join(path, written.incoming),
    outgoing: join(path, OUTGOING),
  };
  const excess = Buffer.byteLength(directory.debug) - SOCKET_PATH_LIMIT;
  if (excess > 0)
    throw new UnideployError(
      'UD_STATE_PATH',
      `the path of a socket would be ${excess} bytes too long: ${directory.debug}`,
      `choose a state directory whose path is at least ${excess} bytes shorter (--state)`,
    );
  return directory;
}

/** Guests that a version without confinement has started keep their monitors beside the spec. */
const WRITTEN_EARLIER = {
  ...WRITTEN,
  memory: 'memory.elf',
  monitor: 'qmp.sock',
  spare: 'spare.sock',
  debug: 'debug.sock',
};

export function isOfEarlierVersion(path: string): boolean {
  return existsSync(join(path, 'spec.json')) && !existsSync(join(path, 'own'));
}

/** Ids of all run directories, in no order. */
export async function runIds(state: string): Promise<string[]> {
  try {
    const entries = await readdir(join(resolve(state), 'run'), { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map(({ name }) => name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/**
 * Makes the directory with the spec in it: whoever sees one sees the other.
 *
 * @param user whom QEMU will run as; null: as this process
 */
export async function createRunDirectory(
  { path, spec: file, specCopy }: RunDirectory,
  spec: InstanceSpec,
  user: User | null = null,
): Promise<void> {
  if (existsSync(file)) {
    await writeAtomically(specCopy, spec);
    await writeAtomically(file, spec);
    await openTo(path, spec.image, user);
    return;
  }
  const fresh = join(dirname(path), `.${basename(path)}.new`);
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true, mode: 0o700 });
  for (const each of [file, specCopy])
    await writeFile(join(fresh, basename(each)), JSON.stringify(spec, null, 2), { mode: 0o600 });
  await openTo(fresh, spec.image, user);
  await rm(path, { recursive: true, force: true });
  await rename(fresh, path);
}

/** The spec a machine was launched with, from its copy where it is torn; null when there is no such run directory. */
export async function readSpec(directory: RunDirectory): Promise<InstanceSpec | null> {
  const first = await readJson<InstanceSpec>(directory.spec);
  if (isSpec(first)) return first;
  const copy = await readJson<InstanceSpec>(directory.specCopy);
  return isSpec(copy) ? copy : null;
}

function isSpec(value: InstanceSpec | null): boolean {
  return typeof value?.id === 'string' && typeof value.service === 'string' && Array.isArray(value.volumes);
}

/** Null until QEMU has told, and where the file is torn: QEMU is asked again. */
export async function readEndpoint(directory: RunDirectory): Promise<Endpoint | null> {
  const endpoint = await readJson<Endpoint>(directory.endpoint);
  return typeof endpoint?.host === 'string' && typeof endpoint.port === 'number' ? endpoint : null;
}

/** Takes the traces of an earlier process away; only when that process is known to be gone. */
export async function clearTraces(directory: RunDirectory): Promise<void> {
  for (const path of [directory.pid, directory.monitor, directory.spare, directory.debug, directory.endpoint])
    await rm(path, { force: true });
}

/** The process id of the machine, null when it does not run. A pid file alone proves nothing: pids are reused. */
export function livingPid(directory: RunDirectory): number | null {
  const recorded = recordedPid(directory);
  if (recorded !== null) return isProcessOf(directory, recorded) ? recorded : null;
  // Whoever started it may have died before QEMU had written its pid: such a machine must not be taken for stopped.
  return existsSync(directory.path) ? (pids().find((pid) => isProcessOf(directory, pid)) ?? null) : null;
}

function recordedPid({ pid: file }: RunDirectory): number | null {
  try {
    const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
    return pid > 1 ? pid : null;
  } catch (error) {
    return unlessOurs(error);
  }
}

/** Null for what could not be read; a host that can open no more files has found nothing out, and must not say so. */
function unlessOurs(error: unknown): null {
  if (isHostTrouble(error)) throw error;
  return null;
}

function pids(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 1);
}

/**
/**
 * True while this process is the directory's QEMU. Anybody may write anything on a command line, but nobody else can
 * have gone into the directory.
 */
export function isProcessOf({ path, pid: pidFile }: RunDirectory, pid: number): boolean {
  try {
    // Empty for a zombie and for a process on its way out.
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    // Earlier versions named their pid file there.
    if (!words.includes(guestName(path)) && !words.includes(pidFile)) return false;
    const [here, there] = [statSync(path), statSync(`/proc/${pid}/cwd`)];
    return here.ino === there.ino && here.dev === there.dev;
  } catch (error) {
    return unlessOurs(error) ?? false;
  }
}

/** The word by which a machine's process is known, to us and to people: -name knows no JSON, a comma is written twice. */
export function guestName(path: string): string {
  return `guest=${path.replaceAll(',', ',,')}`;
}

/** Every QEMU that was started for this state, whether its run directory is still there or not: its number, by instance. */
export function processesOf(state: string): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const pid of pids()) {
    const id = instanceOf(pid, join(resolve(state), 'run'));
    if (id !== null) found.set(id, [...(found.get(id) ?? []), pid]);
  }
  return found;
}

/** The instance in whose run directory, which may be gone, the process works, and which it was started for. */
function instanceOf(pid: number, folder: string): string | null {
  try {
    const path = readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, '');
    if (dirname(path) !== folder) return null;
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return words.includes(guestName(path)) || words.includes(join(path, 'qemu.pid')) ? basename(path) : null;
  } catch (error) {
    return unlessOurs(error);
  }
}

/** True for a process that has given its memory back and not yet its files: it still holds image locks. */
export function isExiting(pid: number): boolean {
  try {
    const [, state] = /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
    return state !== 'Z' && state !== 'X' && readFileSync(`/proc/${pid}/cmdline`, 'utf8') === '';
  } catch {
    return false;
  }
}

/** Nobody ever reads half a file: written beside it, then renamed over it, if `expectCommand` lets it. */
export async function writeAtomically(
  path: string,
  value: unknown,
  expectCommand: () => void = () => {},
): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  await writeFile(temporary, JSON.stringify(value, null, 2), { mode: 0o600 });
  expectCommand();
  await rename(temporary, path);
}

/** The content of a JSON file; null when it does not exist, or is torn: everybody knows what to do without it. */
export async function readJson<T>(path: string): Promise<T | null> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
