import type { TrafficPolicy } from '../domain/traffic.ts';
import type { ErrorReport } from '../errors.ts';

/** Where requests of one service go. A table is applied whole or not at all; a lower version is refused. */
export interface RoutingTable {
  service: string;
  version: number;
  listen: ListenAddress;
  /** new requests wait in the data plane (bounded) instead of going to an instance */
  hold: boolean;
  /** the revision that preview requests reach (`traffic.preview`), whatever its weight; null: none */
  preview: number | null;
  traffic: TrafficPolicy;
  routes: Route[];
}

export interface ListenAddress {
  host: string;
  /** 0: the system chooses, and `status` says which */
  port: number;
}

export interface Route {
  instance: string;
  /** revision number it serves, for the figures */
  revision: number;
  host: string;
  port: number;
  /** share of new requests, 0 to 256; 0: drained, requests in flight go on */
  weight: number;
}

/** What the data plane really does now. */
export interface TableStatus {
  service: string;
  version: number;
  /** the address it listens on, the port as the system gave it */
  listen: ListenAddress;
  hold: boolean;
  /** requests waiting in the hold */
  held: number;
  /** requests taken since the table's service was first applied, and those answered with an error of the proxy's own */
  requests: number;
  failures: number;
  /** those answers, by their reason (`X-Unideploy-Proxy`) */
  refused: Record<string, number>;
  /** requests that had to wait in the hold */
  holds: number;
  /** drains that have ended */
  drains: number;
  preview: number | null;
  traffic: TrafficPolicy;
  routes: RouteStatus[];
}

interface RouteStatus extends Route {
  inFlight: number;
  /** false: taken out, by its answers to checks or to requests */
  usable: boolean;
}

/** What was counted of one instance and revision since the data plane began to serve it. */
export interface Figures {
  instance: string;
  revision: number;
  /** answers by the first digit of their status */
  status: { '1xx': number; '2xx': number; '3xx': number; '4xx': number; '5xx': number };
  /** answers that broke, or never began, and were not asked for elsewhere */
  broken: number;
  /** seconds from the head of the request to the end of the answer; `buckets` as LATENCY_BOUNDS, then the rest */
  latency: { sum: number; buckets: number[] };
  /** requests that were asked for elsewhere after it had failed them */
  retries: number;
  ejections: number;
}

/** Upper bounds of the latency histogram's buckets, in seconds. */
export const LATENCY_BOUNDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const;

/** How a drain ended. */
export interface Drained {
  /** requests, WebSockets and streams cut off at the deadline */
  cut: number;
  /** WebSockets that were told to go (close frame 1001) after their grace time */
  websockets: number;
  /** event streams that were ended after theirs */
  streams: number;
}

/** Drives the data plane, processes of their own that outlive this one. */
export interface DataPlane {
  /** Starts the data plane if none answers, adopts it otherwise. */
  ensure(): Promise<void>;
  /** Applies a table whole (UD_TABLE_REFUSED: not newer; UD_PORT_IN_USE: the listener cannot be opened). */
  apply(table: RoutingTable): Promise<TableStatus>;
  /** Closes a service's listener when its last request has ended, at the latest after `graceMs`. Idempotent. */
  remove(service: string, graceMs: number): Promise<void>;
  status(): Promise<TableStatus[]>;
  /** Resolves when the instance has no request in flight (or is not in the table), at the deadline at the latest. */
  drained(service: string, instance: string, deadlineMs: number): Promise<Drained>;
  /** What was counted, by instance and revision. */
  figures(service: string): Promise<Figures[]>;
  /** All figures of all services in Prometheus' text format. */
  metrics(): Promise<string>;
  /** Puts the program that is installed now in the place of the one that runs, without refusing a connection. */
  upgrade(): Promise<void>;
  /** Ends the data plane's processes. */
  stop(): Promise<void>;
}

/** Header of the control socket's requests: the token of the controller that asks. */
export const TOKEN_HEADER = 'x-unideploy-token';

/** Body of a refusal on the control socket. */
export interface ControlError {
  error: ErrorReport;
}
