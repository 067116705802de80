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
} as const;
