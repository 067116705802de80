/** Something that a state's processes and folder have, as it was found. */
export type Thing =
  /** `service`: whose it is; null: nothing tells. `directory`: its run directory is there */
  | {
      kind: 'machine';
      id: string;
      service: string | null;
      pids: number[];
      directory: boolean;
      /** kept as it is, for somebody to look into */
      frozen: boolean;
    }
  /** a process of the data plane; `recorded`: it is the one that serves, or one that is leaving as it was told to */
  | { kind: 'data-plane'; pid: number; recorded: boolean; what: string }
  /** `writer`: the process that is to finish or to remove it, if one is known */
  | { kind: 'file'; path: string; what: string; isWriterAlive: boolean };

/** Whose things are whose. */
export interface Owners {
  /** services that there are, with a goal or with an open rollout */
  services: ReadonlySet<string>;
  /** instances that a routing table has, whoever wrote it: they may serve clients */
  routed: ReadonlySet<string>;
}

/** A thing that nobody owns: nobody will ever use or end it. */
export interface Leftover {
  thing: Thing;
  /** the same for the same thing at every look */
  key: string;
  /** in words: what it is, and why nobody owns it */
  why: string;
}

/**
 * What nobody owns. An instance belongs to its service, for as long as there is one: to its pool, to the rollout under
 * way, or to what it keeps warm. What serves, and what was frozen as evidence, is never left over.
 */
export function leftovers(things: Thing[], owners: Owners): Leftover[] {
  return things.flatMap((thing) => {
    const why = whyLeft(thing, owners);
    return why === null ? [] : [{ thing, key: keyOf(thing), why }];
  });
}

/** How long a thing has to be left over before it is removed, in ms: whoever is about to own it has said so by then. */
export const GRACE = 60_000;

/** Remembers since when things are left over. */
export class Waiting {
  readonly #since = new Map<string, number>();

  /** Those of them that have been left over for as long as `grace` at every look. */
  ripe(found: Leftover[], now: number, grace: number): Leftover[] {
    const keys = new Set(found.map(({ key }) => key));
    for (const key of this.#since.keys()) if (!keys.has(key)) this.#since.delete(key);
    for (const key of keys) if (!this.#since.has(key)) this.#since.set(key, now);
    return found.filter(({ key }) => now - (this.#since.get(key) ?? now) >= grace);
  }
}

function whyLeft(thing: Thing, { services, routed }: Owners): string | null {
  switch (thing.kind) {
    case 'machine': {
      const { id, service, pids, directory, frozen } = thing;
      if (frozen || routed.has(id)) return null;
      const what = pids.length > 0 ? `instance ${id} (process ${pids.join(', ')})` : `run directory of ${id}`;
      if (!directory) return `${what}: its run directory is gone`;
      if (service === null) return `${what}: nothing tells whose it is`;
      return services.has(service) ? null : `${what}: there is no service ${service}`;
    }
    case 'data-plane':
      return thing.recorded ? null : `${thing.what} (process ${thing.pid}): it is not the one that serves`;
    case 'file':
      return thing.isWriterAlive ? null : `${thing.what} ${thing.path}: whoever made it is gone`;
  }
}

function keyOf(thing: Thing): string {
  switch (thing.kind) {
    case 'machine':
      return `machine ${thing.id} ${thing.pids.join()}`;
    case 'data-plane':
      return `process ${thing.pid}`;
    case 'file':
      return `file ${thing.path}`;
  }
}
