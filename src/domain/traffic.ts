/** How clients reach a service, and what the data plane does for it. Times in milliseconds, sizes in bytes. */
export interface TrafficPolicy {
  /** `tcp`: connections instead of requests; the listener is the service's alone */
  mode: 'http' | 'tcp';
  /** which requests are the service's, where several share a listener; empty: all that no other service there claims */
  match: Match[];
  /** PEM files, read again when they change; null: plain */
  tls: { certificate: string; key: string } | null;
  /** how one of several instances alike is chosen; the shares of revisions and weights are exact with each */
  balance: Balance;
  /** a client stays with its instance, and where that has gone with its revision, by this cookie */
  sticky: Sticky | null;
  /** requests that reach the table's preview revision whatever its weights say */
  preview: Preview | null;
  /** the data plane's own HTTP checks; null: none */
  check: ActiveCheck | null;
  eject: EjectPolicy;
  /** how long those that would never end by themselves may go on when their instance is drained */
  drain: { websocket: number; events: number };
  hold: HoldPolicy;
  limits: { head: number /** null: any */; body: number | null };
  timeouts: Timeouts;
  /** a JSON line for every request, in the state folder's access.log */
  accessLog: boolean;
}

export const BALANCES = ['least-in-flight', 'round-robin', 'power-of-two'] as const;
export type Balance = (typeof BALANCES)[number];

/** `pages`: how long the last instances of a revision go on answering what its pages ask for, once new pages are another's. */
interface Sticky {
  cookie: string;
  pages: number;
}

/** Requests to a host (null: any) below a path (`/` : any; a prefix of whole segments). */
export interface Match {
  host: string | null;
  path: string;
}

/** Either that host is asked for, or the request carries that header. */
interface Preview {
  host: string | null;
  header: { name: string; value: string } | null;
}

export interface ActiveCheck {
  /** 2xx is a success */
  path: string;
  interval: number;
  timeout: number;
  /** successes in a row that let an instance back in */
  healthy: number;
  /** failures in a row that take it out */
  unhealthy: number;
}

export interface EjectPolicy {
  /** failures in a row (no connection, no answer, 502, 503 or 504 of its own) that take an instance out */
  failures: number;
  /** how long it stays out; a refused connection alone takes it out for a second at once */
  time: number;
  /** per cent of the instances with a weight that always stay in */
  floor: number;
}

/** Bounds of the requests that wait while nothing can take them. */
export interface HoldPolicy {
  requests: number;
  /** of what was read of them: heads, and what came with them */
  bytes: number;
  time: number;
  /** a path that the data plane answers itself, 200, while requests are held; null: none */
  health: string | null;
}

interface Timeouts {
  connect: number;
  /** from the last byte of the request to the head of the answer */
  response: number;
  /** for a whole request head */
  head: number;
  /** silence within an upload, or of a client that does not read its answer */
  body: number;
  /** a client's connection without a request */
  idle: number;
}

export const DEFAULT_TRAFFIC: TrafficPolicy = {
  mode: 'http',
  match: [],
  tls: null,
  balance: 'least-in-flight',
  sticky: null,
  preview: null,
  check: null,
  eject: { failures: 5, time: 10_000, floor: 50 },
  drain: { websocket: 10_000, events: 10_000 },
  hold: { requests: 1_000, bytes: 16 << 20, time: 30_000, health: null },
  limits: { head: 16_384, body: null },
  timeouts: { connect: 5_000, response: 60_000, head: 15_000, body: 60_000, idle: 75_000 },
  accessLog: false,
};
