import type { Socket } from 'node:net';
import type { Figures, Route } from '../port.ts';
import type { Candidate } from './balance/group.ts';
import { Dialing } from './dialing.ts';
import { Counts } from './figures.ts';
import {
  type InstanceConnection,
  openConnection,
  openInstanceConnection,
} from './http1/instance-connection.ts';

/** What an instance is busy with. */
export interface InFlight {
  readonly kind: 'request' | 'websocket' | 'events' | 'connection';
  /** Ends it now: the drain's deadline has passed. */
  cut(): void;
  /** Ends it in a way that its client understands, soon; what would end by itself has no such way. */
  goAway?(): void;
  /** Looks whether it has taken too long; `now` as performance.now(). */
  check?(now: number): void;
}

/** One instance at one address, with its connections and what it is busy with; outlives its route until that has ended. */
export class Instance implements Candidate {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  weight: number;
  /** since when it takes no new pages, performance.now(); null while it does */
  closedSince: number | null = null;
  readonly inFlight = new Set<InFlight>();
  readonly #onIdle: (instance: Instance) => void;
  readonly #counts = new Map<number, Counts>();
  readonly #idle: InstanceConnection[] = [];
  readonly #dialing = new Dialing();
  /** of the connections that are kept: those of an earlier one are not */
  #generation = 0;
  #revision: number;
  /** of the revision that it serves now */
  counts: Counts;

  constructor(route: Route, onIdle: (instance: Instance) => void) {
    this.name = route.instance;
    this.host = route.host;
    this.port = route.port;
    this.weight = route.weight;
    this.#revision = route.revision;
    this.counts = this.#countsOf(route.revision);
    this.#onIdle = onIdle;
  }

  get revision(): number {
    return this.#revision;
  }

  set revision(revision: number) {
    this.#revision = revision;
    this.counts = this.#countsOf(revision);
  }

  enter(work: InFlight): void {
    this.inFlight.add(work);
  }

  leave(work: InFlight): void {
    if (this.inFlight.delete(work) && this.inFlight.size === 0) this.#onIdle(this);
  }

  /** A connection that was used before: only for what may be asked twice, since the instance may be closing it just now. */
  takeIdle(): InstanceConnection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined || !isStale(connection, performance.now())) return connection;
      connection.destroy();
    }
  }

  /**
   * A new connection, when its turn comes; returns the way to give up. `takeIdle`: one that was used before will do as
   * well, should one become idle earlier.
   */
  connect(
    onConnected: (connection: InstanceConnection) => void,
    onFailed: (error: Error) => void,
    takeIdle?: (connection: InstanceConnection) => void,
  ): () => void {
    let served = false;
    const connected = (connection: InstanceConnection) => {
      if (served) this.#onFree(connection, true);
      else onConnected(connection);
    };
    const failing = (error: Error) => {
      if (!served) onFailed(error);
    };
    return this.#dialing.add({
      open: (made, failed) =>
        openInstanceConnection(
          this,
          this.#generation,
          this.#onFree,
          inTurn(made, connected),
          inTurn(failed, failing),
        ),
      ...(takeIdle && {
        takeIdle: (connection: InstanceConnection) => {
          served = true;
          takeIdle(connection);
        },
      }),
    });
  }

  /** A bare one, for what is not HTTP/1, when its turn comes; returns the way to give up. */
  connectBare(onConnected: (socket: Socket) => void, onFailed: (error: Error) => void): () => void {
    return this.#dialing.add({
      open: (made, failed) => openConnection(this, inTurn(made, onConnected), inTurn(failed, onFailed)),
    });
  }

  /** Closes the connections without a request now, the others after theirs. */
  closeIdle(): void {
    this.#generation++;
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  /** Looks after deadlines; `now` as performance.now(). */
  check(now: number): void {
    for (const work of this.inFlight) work.check?.(now);
    // the oldest come first
    while (this.#idle[0] !== undefined && isStale(this.#idle[0], now)) this.#idle.shift()?.destroy();
  }

  figures(ejections: number): Figures[] {
    return [...this.#counts].map(([revision, counts]) =>
      counts.figures(this.name, revision, revision === this.#revision ? ejections : 0),
    );
  }

  readonly #onFree = (connection: InstanceConnection, reusable: boolean): void => {
    if (reusable && connection.generation === this.#generation) {
      connection.idleSince = performance.now();
      this.#idle.push(connection);
      // not at once: what else has arrived on it is no answer to the next question
      if (this.#dialing.wantsIdle) process.nextTick(() => this.#giveIdle());
      return;
    }
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    if (reusable) connection.destroy();
  };

  #giveIdle(): void {
    if (!this.#dialing.wantsIdle) return;
    const connection = this.takeIdle();
    if (connection) this.#dialing.give(connection);
  }

  #countsOf(revision: number): Counts {
    const known = this.#counts.get(revision);
    if (known) return known;
    const counts = new Counts();
    this.#counts.set(revision, counts);
    return counts;
  }
}

/** Lets the next one have its turn, and tells the one who has had it. */
function inTurn<T>(end: () => void, tell: (outcome: T) => void): (outcome: T) => void {
  return (outcome) => {
    end();
    tell(outcome);
  };
}

function isStale({ idleSince, idleFor }: InstanceConnection, now: number): boolean {
  return now - idleSince >= idleFor;
}
