/** The bounds of the HAProxy data plane, those of the embedded one where both have them; times in milliseconds. */
export const LIMITS = {
  connect: 5_000,
  /** silence of an instance: before its answer, and within it */
  response: 60_000,
  /** silence on a WebSocket */
  tunnel: 86_400_000,
  retries: 3,
  /** until a connection is tried again to an instance that refused one */
  eject: 1_000,
  held: 1_000,
  hold: 30_000,
  clientIdle: 75_000,
  clientHead: 15_000,
  /** idle client connections stay open this long after a listener stopped: requests already on the wire still get an answer */
  closeIdleAfter: 1_000,
  /** requests in flight when the data plane is told to end, or a service moves to another port */
  softClose: 30_000,
  /** how long an instance may still count what was cut */
  cut: 1_000,
  /** between two looks at how many requests are left */
  poll: 20,
  start: 15_000,
  /** an answer on the runtime socket */
  answer: 5_000,
  /** from SIGTERM to SIGKILL */
  terminate: 5_000,
} as const;
