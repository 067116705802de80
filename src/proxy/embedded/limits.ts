/** Bounds of the embedded data plane that no table sets; times in milliseconds, sizes in bytes. */
export const LIMITS = {
  /** further instances that may get a request after the first */
  retries: 3,
  /** held requests that go on in one turn of the event loop: an instance that has just come back is not flooded */
  releaseBatch: 8,
  /** below the 5 s of the smallest servers in use, most of which announce none */
  upstreamIdle: 1_000,
  upstreamIdleAnnounced: 4_000,
  /** until an instance that has not taken a connection is dialled anew; twice as long each time */
  redial: 20,
  /** head of an instance's answer */
  answerHead: 65_536,
  /** kept of what a client has sent before anybody is ready for it */
  ahead: 65_536,
  /** written to a socket and not taken yet, before the other side has to wait */
  buffered: 262_144,
  /** one read of an instance's answer, and how many buffers for it are kept for the next */
  read: 65_536,
  freeBuffers: 64,
  /** up to this size it is cheaper to copy parts together than to write them one by one */
  copied: 16_384,
  /** of a client's HTTP/2 connection; its memory in megabytes: what all its streams may have buffered, and some more */
  http2: { headers: 200, streams: 128, window: 4 << 20, memory: 64 },
  /** the longest that the rest of an upload is read and thrown away after an early answer */
  linger: 30_000,
  /** for a client to close, once it was told to */
  closing: 5_000,
  /** between two looks at deadlines */
  tick: 250,
  /** instances that have gone whose figures are kept */
  past: 1_000,
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
  /** between two looks at how long the logs are */
  boundLogs: 10_000,
  /** until the successor's workers all serve */
  succession: 15_000,
} as const;
