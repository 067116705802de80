/** The bounds of the embedded data plane; times in milliseconds. */
export const LIMITS = {
  connect: 5_000,
  /** from the last byte of the request to the head of the answer */
  response: 60_000,
  /** further attempts after the first */
  retries: 3,
  eject: 1_000,
  held: 1_000,
  hold: 30_000,
  /** held requests that go on in one turn of the event loop: an instance that has just come back is not flooded */
  releaseBatch: 8,
  /** below the 5 s of the smallest servers in use, most of which announce none */
  upstreamIdle: 1_000,
  upstreamIdleAnnounced: 4_000,
  /** the longest that the rest of an upload is read and thrown away after an early answer */
  linger: 30_000,
  clientIdle: 75_000,
  clientHead: 15_000,
  headBytes: 16_384,
  /** idle client connections stay open this long after a listener stopped: requests already on the wire still get an answer */
  closeIdleAfter: 1_000,
  /** requests in flight when the process is told to end, or a service moves to another port */
  softClose: 30_000,
  /** connections that wait to be accepted: a burst, or the time until a dead worker is replaced */
  backlog: 4_096,
  /** how long a port in use is tried again */
  bind: 500,
  /** a worker is asked this often whether it is well, and killed after so many questions without an answer */
  ping: 1_000,
  pings: 5,
  /** a worker that ends before it is as old as this is started again more and more slowly, up to `slowestStart` */
  quickEnd: 1_000,
  slowestStart: 5_000,
  /** how long a table waits for a worker that could take it, while all are being replaced */
  anyWorker: 10_000,
  /** until the successor's workers all serve */
  succession: 15_000,
} as const;
