/** The bounds of the HAProxy data plane, those of the embedded one where both have them; times in milliseconds. */
export const LIMITS = {
  /** silence on a WebSocket, and within a stream of events */
  tunnel: 86_400_000,
  /** of any kind: an instance that has just died takes two, one for the connection that was kept and one for a new one */
  retries: 7,
  /** until a connection is tried again to an instance that refused one */
  eject: 1_000,
  /** idle client connections stay open this long after a listener stopped: requests already on the wire still get an answer */
  closeIdleAfter: 1_000,
  /** requests in flight when the data plane is told to end, or a service moves to another port */
  softClose: 30_000,
  /** how long an instance may still count what was cut */
  cut: 1_000,
  /** between two looks at how many requests are left */
  poll: 20,
  /** between two looks for WebSockets and streams whose time is over */
  sessions: 200,
  /** between two looks at the certificate files */
  certificates: 1_000,
  start: 15_000,
  /** how long a port in use is tried again: a process that was killed keeps it for a moment longer than it is seen */
  bind: 500,
  /** an answer on the runtime socket */
  answer: 5_000,
  /** from SIGTERM to SIGKILL */
  terminate: 5_000,
  /** the longest line that HAProxy writes of a request, in bytes: what a pipe takes whole */
  line: 4_096,
} as const;
