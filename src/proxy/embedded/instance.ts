import { Pool } from 'undici';
import { type Figures, LATENCY_BOUNDS, type Route } from '../port.ts';
import type { Candidate } from './balancer.ts';
import { tolerantConnector } from './connector.ts';
import { LIMITS } from './limits.ts';

/** A request or an upgraded connection that an instance is busy with. */
export interface InFlight {
  /** Ends it now: the drain's deadline has passed. */
  cut(): void;
}

/** One instance at one address, with its connections and what it is busy with; outlives its route until that has ended. */
export class Instance implements Candidate {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  revision: number;
  weight: number;
  ejectedUntil = 0;
  readonly figures: Figures;
  readonly inFlight = new Set<InFlight>();
  readonly #onIdle: (instance: Instance) => void;
  #kept: Pool | undefined;
  #fresh: Pool | undefined;

  constructor(route: Route, onIdle: (instance: Instance) => void) {
    this.name = route.instance;
    this.host = route.host;
    this.port = route.port;
    this.revision = route.revision;
    this.weight = route.weight;
    this.figures = {
      instance: route.instance,
      revision: route.revision,
      status: { '1xx': 0, '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0 },
      broken: 0,
      latency: { sum: 0, buckets: new Array(LATENCY_BOUNDS.length + 1).fill(0) },
      retries: 0,
      ejections: 0,
    };
    this.#onIdle = onIdle;
  }

  /** Connections that are used again: only for requests that may be sent twice. */
  get kept(): Pool {
    this.#kept ??= this.#pool({ pipelining: 1, headersTimeout: LIMITS.response });
    return this.#kept;
  }

  /**
   * A connection for every request: an instance that closes an idle connection at the moment it is used again would
   * lose a request that must not be repeated. The response time-out is the caller's, who knows when the upload ends.
   */
  get fresh(): Pool {
    this.#fresh ??= this.#pool({ pipelining: 0, headersTimeout: 0 });
    return this.#fresh;
  }

  enter(work: InFlight): void {
    this.inFlight.add(work);
  }

  leave(work: InFlight): void {
    if (this.inFlight.delete(work) && this.inFlight.size === 0) this.#onIdle(this);
  }

  /** An answer has ended, so long after its request came. */
  count(status: number, seconds: number): void {
    this.figures.status[`${Math.trunc(status / 100)}xx` as '2xx']++;
    this.figures.latency.sum += seconds;
    const bucket = LATENCY_BOUNDS.findIndex((bound) => seconds <= bound);
    const { buckets } = this.figures.latency;
    const i = bucket < 0 ? LATENCY_BOUNDS.length : bucket;
    buckets[i] = (buckets[i] ?? 0) + 1;
  }

  /** No new requests for a second, while others can take them. */
  eject(): void {
    this.figures.ejections++;
    this.ejectedUntil = Date.now() + LIMITS.eject;
  }

  /** Closes the connections without a request now, the others after theirs. */
  closeIdle(): void {
    for (const pool of [this.#kept, this.#fresh]) pool?.close().catch(() => undefined);
    this.#kept = undefined;
    this.#fresh = undefined;
  }

  #pool(options: Pool.Options): Pool {
    const host = this.host.includes(':') ? `[${this.host}]` : this.host;
    return new Pool(`http://${host}:${this.port}`, {
      connections: null,
      connect: tolerantConnector(),
      keepAliveTimeout: LIMITS.upstreamIdle,
      keepAliveMaxTimeout: LIMITS.upstreamIdleAnnounced,
      keepAliveTimeoutThreshold: 1_000,
      maxHeaderSize: 4 * LIMITS.headBytes,
      // an event stream may be silent for hours; a peer that vanished is found by TCP keep-alive
      bodyTimeout: 0,
      ...options,
    });
  }
}
