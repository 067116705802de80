import { readdirSync, readFileSync } from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { GRACE, type Leftover, leftovers, type Owners, type Thing, Waiting } from '../engine/leftovers.ts';
import { isHostTrouble } from '../errors.ts';
import type { Hypervisor } from '../hypervisor/port.ts';
import { processesOf } from '../hypervisor/qemu/run-directory.ts';
import { traces } from '../hypervisor/qemu/traces.ts';
import type { DataPlane } from '../proxy/port.ts';
import type { Store } from '../store/port.ts';
import type { StatePaths } from './paths.ts';

/** How often is looked, in ms; a guest that is left over has so long to power down. */
const EVERY = 10_000;
const STOPS_WITHIN = 2000;

type Owning = Pick<Store, 'services' | 'openRollouts' | 'table'>;

interface DebrisParts {
  hypervisor: Pick<Hypervisor, 'stop' | 'remove'>;
  dataPlane: Pick<DataPlane, 'status'>;
  store: Owning;
  log: (line: string) => void;
  /** milliseconds; any zero */
  now: () => number;
  /** how long a thing is left over before it is removed, in ms */
  grace?: number;
}

/** Removes what nobody owns: guests, run directories, processes of the data plane, unfinished files. */
export class Debris {
  readonly #paths: StatePaths;
  readonly #parts: DebrisParts;
  readonly #waiting = new Waiting();
  readonly #told = new Set<string>();
  #notBefore = 0;
  #looking = false;

  constructor(paths: StatePaths, parts: DebrisParts) {
    this.#paths = paths;
    this.#parts = parts;
  }

  /** What is left over now. */
  async find(): Promise<Leftover[]> {
    const { dataPlane, store } = this.#parts;
    const serving = await dataPlane.status().catch(() => []);
    const owners = ownersOf(store);
    const routed = serving.flatMap(({ routes }) => routes.map(({ instance }) => instance));
    return leftovers(await things(this.#paths), {
      ...owners,
      routed: new Set([...owners.routed, ...routed]),
    });
  }

  /** Looks, if it is time to, and removes what has been left over for long enough. Asked often. */
  async look(): Promise<void> {
    const { now, log, grace = GRACE } = this.#parts;
    if (this.#looking || now() < this.#notBefore) return;
    this.#looking = true;
    try {
      for (const { thing, key, why } of this.#waiting.ripe(await this.find(), now(), grace)) {
        if (!this.#told.has(key)) log(`removes what nobody owns: ${why}`);
        await this.#remove(thing, this.#told.has(key));
        this.#told.add(key);
      }
    } finally {
      this.#looking = false;
      this.#notBefore = now() + Math.min(EVERY, grace);
    }
  }

  /** @param again it was told to go at an earlier look, and is still there */
  async #remove(thing: Thing, again: boolean): Promise<void> {
    const { hypervisor } = this.#parts;
    switch (thing.kind) {
      case 'machine':
        await hypervisor.stop(thing.id, STOPS_WITHIN);
        // Those that nothing but their process is left of: nobody can ask them.
        for (const pid of processesOf(this.#paths.root).get(thing.id) ?? [])
          signal(pid, again ? 'SIGKILL' : 'SIGTERM');
        if (!processesOf(this.#paths.root).has(thing.id)) await hypervisor.remove(thing.id);
        break;
      case 'data-plane':
        // Not asked to: it would take the socket of the one that serves with it. Its workers end what they have in flight.
        signal(thing.pid, 'SIGKILL');
        break;
      case 'file':
        await rm(thing.path, { recursive: true, force: true });
    }
  }
}

/** Whose things are whose, by the store. */
export function ownersOf(store: Owning): Owners {
  const services = new Set([
    ...store.services().map(({ name }) => name),
    ...store.openRollouts().map(({ service }) => service),
  ]);
  const routes = [...services].flatMap((service) => store.table(service)?.routes ?? []);
  return { services, routed: new Set(routes.map(({ instance }) => instance)) };
}

/** Everything of a state that might be left over. */
export async function things(paths: StatePaths): Promise<Thing[]> {
  const machines = (await traces(paths.root)).map(
    ({ id, spec, pids, directory, frozen }): Thing => ({
      kind: 'machine',
      id,
      service: spec?.service ?? null,
      pids,
      directory,
      frozen,
    }),
  );
  return [...machines, ...(await dataPlanes(paths)), ...(await unfinished(paths))];
}

/** The embedded data plane that serves has its number in its file; HAProxy's processes have records. */
async function dataPlanes({ root }: StatePaths): Promise<Thing[]> {
  const processes = commandLines();
  const embedded = processes.filter(
    ({ words }) =>
      words.some((word) => word.endsWith('/proxy/embedded/process/main.js')) &&
      resolve(words[words.indexOf('--state') + 1] ?? '') === root,
  );
  const serving = Number(await readFile(join(root, 'proxy.pid'), 'utf8').catch(() => ''));
  // Where the file does not tell which one serves, each of them may.
  const isTold = embedded.some(({ pid }) => pid === serving);
  const records: string[] = await readdir(join(root, 'haproxy')).catch(none);
  const haproxies = processes.flatMap(({ pid, words }): Thing[] => {
    const config = words[words.indexOf('-f') + 1] ?? '';
    if (resolve(config, '..') !== join(root, 'haproxy')) return [];
    const recorded = records.includes(basename(config).replace(/\.cfg$/, '.json'));
    return [{ kind: 'data-plane', pid, recorded, what: 'an HAProxy' }];
  });
  return [
    ...embedded.map(({ pid }): Thing => {
      return { kind: 'data-plane', pid, recorded: !isTold || pid === serving, what: 'a data plane' };
    }),
    ...haproxies,
  ];
}

/** Names that only unfinished work has: what is written before it is renamed, or made before it is linked. */
const UNFINISHED = /\.new$|^\.put-|^\.inspected-|\.sock\.\d+(\.stale)?$/;

/** The number of the process that is at it, where the name has one. */
const WRITER = /^\.put-(\d+)-|\.(\d+)\.new$|\.sock\.(\d+)(?:\.stale)?$/;

async function unfinished({ root, artifacts, records, snapshots }: StatePaths): Promise<Thing[]> {
  const below = async (folder: string) =>
    (await readdir(folder, { withFileTypes: true }).catch(none))
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(folder, name));
  const run = join(root, 'run');
  const folders = [
    root,
    artifacts,
    join(root, 'haproxy'),
    run,
    ...(await below(run)),
    ...(await below(records)),
    ...(await below(snapshots)),
  ];
  const found = await Promise.all(folders.map(unfinishedIn));
  return found.flat();
}

async function unfinishedIn(folder: string): Promise<Thing[]> {
  const names = (await readdir(folder).catch(none)).filter((name) => UNFINISHED.test(name)).sort();
  const found = names.map(async (name): Promise<Thing[]> => {
    const path = join(folder, name);
    const at = await stat(path).catch(() => null);
    if (at === null) return [];
    const pid = WRITER.exec(name)?.slice(1).find(Boolean);
    // Where the name does not tell whose it is, it is somebody's who has written to it not long ago.
    const isWriterAlive = pid === undefined ? Date.now() - at.mtimeMs < GRACE : isAlive(Number(pid));
    return [
      { kind: 'file', path, what: at.isDirectory() ? 'unfinished folder' : 'unfinished file', isWriterAlive },
    ];
  });
  return (await Promise.all(found)).flat();
}

function commandLines(): { pid: number; words: string[] }[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 1)
    .map((pid) => ({ pid, words: wordsOf(pid) }));
}

/** Empty for a zombie, and for a process that has ended. */
function wordsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean);
  } catch (error) {
    return none(error);
  }
}

/** For what is not there; a host that can open no more files has found nothing out, and nothing is removed then. */
function none(error: unknown): [] {
  if (isHostTrouble(error)) throw error;
  return [];
}

function isAlive(pid: number): boolean {
  return wordsOf(pid).length > 0;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
