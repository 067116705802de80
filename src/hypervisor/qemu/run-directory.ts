import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { isHostTrouble, UnideployError } from '../../errors.ts';
import type { Endpoint, InstanceSpec } from '../port.ts';

/** Everything one machine leaves on this host, besides its process. */
export interface RunDirectory {
  path: string;
  spec: string;
  /** the same once more, for the case that the first is torn */
  specCopy: string;
  /** what QEMU writes with -pidfile */
  pid: string;
  /** the monitor of the controller, its one client */
  monitor: string;
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
}

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
  const directory = {
    path,
    spec: join(path, 'spec.json'),
    specCopy: join(path, 'spec.copy.json'),
    pid: join(path, 'qemu.pid'),
    monitor: join(path, 'qmp.sock'),
    debug: join(path, 'debug.sock'),
    console: join(path, 'console.log'),
    log: join(path, 'qemu.log'),
    attachments: join(path, 'attachments.json'),
    endpoint: join(path, 'endpoint.json'),
    root: join(path, 'root.qcow2'),
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

/** Makes the directory with the spec in it: whoever sees one sees the other. */
export async function createRunDirectory(
  { path, spec: file, specCopy }: RunDirectory,
  spec: InstanceSpec,
): Promise<void> {
  if (existsSync(file)) {
    await writeAtomically(specCopy, spec);
    return await writeAtomically(file, spec);
  }
  const fresh = join(dirname(path), `.${basename(path)}.new`);
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true, mode: 0o700 });
  for (const each of [file, specCopy])
    await writeFile(join(fresh, basename(each)), JSON.stringify(spec, null, 2));
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
  for (const path of [directory.pid, directory.monitor, directory.debug, directory.endpoint])
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
 * True while this process was told to write the directory's pid file: a QEMU of this very directory, and neither one that
 * has got the same number since nor somebody's `tail` of that file.
 */
export function isProcessOf(directory: RunDirectory, pid: number): boolean {
  return pidFileOf(pid) === directory.pid;
}

/** Where a process was told to write its number (-pidfile); null for one that was not, and for one that is gone. */
function pidFileOf(pid: number): string | null {
  try {
    // Empty for a zombie and for a process on its way out.
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return words[words.indexOf('-pidfile') + 1] ?? null;
  } catch (error) {
    return unlessOurs(error);
  }
}

/** Every QEMU that was started for this state, whether its run directory is still there or not: its number, by instance. */
export function processesOf(state: string): Map<string, number[]> {
  const folder = join(resolve(state), 'run');
  const found = new Map<string, number[]>();
  for (const pid of pids()) {
    const file = pidFileOf(pid);
    if (file === null || basename(file) !== 'qemu.pid' || dirname(dirname(file)) !== folder) continue;
    const id = basename(dirname(file));
    found.set(id, [...(found.get(id) ?? []), pid]);
  }
  return found;
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

/** Nobody ever reads half a file: written beside it, then renamed over it. */
export async function writeAtomically(path: string, value: unknown): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  await writeFile(temporary, JSON.stringify(value, null, 2));
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
