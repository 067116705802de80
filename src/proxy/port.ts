import type { ErrorReport } from '../errors.ts';

/** Where requests of one service go. A table is applied whole or not at all; a lower version is refused. */
export interface RoutingTable {
  service: string;
  version: number;
  listen: ListenAddress;
  /** new requests wait in the data plane (bounded) instead of going to an instance */
  hold: boolean;
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
  routes: (Route & { inFlight: number })[];
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
  /** Resolves when the instance has no request in flight (or is not in the table); `cut` counts those cut off at the deadline. */
  drained(service: string, instance: string, deadlineMs: number): Promise<{ cut: number }>;
  /** Ends the data plane's processes. */
  stop(): Promise<void>;
}

/** Body of a refusal on the control socket. */
export interface ControlError {
  error: ErrorReport;
}
