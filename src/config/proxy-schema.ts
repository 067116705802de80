import { z } from 'zod';
import { BALANCES } from '../domain/traffic.ts';
import {
  choice,
  delay,
  duration,
  hostName,
  httpPath,
  integer,
  path,
  pattern,
  percentage,
  size,
} from './scalars.ts';

const map = { error: 'expected a map of keys' };
const DEFAULT_COOKIE = 'unideploy';
/** A page's scripts, styles and images are asked for at once; what they ask for in turn, soon after. */
const DEFAULT_PAGES = '1s';

const token = (what: string) =>
  pattern(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, `expected the name of a ${what} of at most 100 characters`);

const match = z
  .array(
    z.strictObject(
      {
        host: hostName.optional().describe('host that is asked for; any if left out'),
        path: pattern(/^\/[!-"$->@-~]*$/, 'expected a path that starts with /, without ? and #')
          .prefault('/')
          .describe('path that is asked for, or one above it'),
      },
      map,
    ),
    { error: 'expected a list of maps of host and path' },
  )
  .max(100, { error: 'expected at most 100 of them' })
  .prefault([])
  .describe(
    'which requests are for this service, where several share a listener; empty: all that no other one there claims',
  );

const tls = z
  .strictObject(
    {
      certificate: path.describe(
        'PEM file of the certificate and those above it, read again when it changes',
      ),
      key: path.describe('PEM file of its secret key; only the data plane reads it'),
    },
    map,
  )
  .describe('clients speak TLS; left out: plain');

const stickyMap = z.strictObject(
  {
    cookie: token('cookie').prefault(DEFAULT_COOKIE).describe('name of the cookie that says it'),
    pages: delay
      .prefault(DEFAULT_PAGES)
      .describe(
        "how long the last instances of a revision still answer what its pages ask for, once new pages are another's; 0s: not at all, and guests that can are swapped in traffic",
      ),
  },
  map,
);

const sticky = z
  .union([z.boolean(), stickyMap], { error: 'expected true, false, or a map of cookie and pages' })
  .transform((value) => (value === true ? stickyMap.parse({}) : value || null));

const preview = z
  .strictObject(
    {
      host: hostName.optional().describe('requests to this host are previews'),
      header: z
        .strictObject(
          {
            name: token('header').describe('its name'),
            value: pattern(
              /^[!-~]{1,200}$/,
              'expected a text without blanks of at most 200 characters',
            ).describe('its value'),
          },
          map,
        )
        .optional()
        .describe('requests with this header are previews'),
    },
    map,
  )
  .describe('requests that reach the new revision during a rollout, before all others do; left out: none');

/** The check of a service of requests that says nothing about it; path and timeout are those of its health. */
export const proxyCheck = z.strictObject(
  {
    path: httpPath.optional().describe('HTTP path that answers 2xx; health.path if left out'),
    interval: duration.prefault('2s').describe('time between two checks'),
    timeout: duration.optional().describe('time one check may take; health.timeout if left out'),
    healthy: integer(1, 100).prefault(1).describe('successes in a row that let an instance back in'),
    unhealthy: integer(1, 100).prefault(3).describe('failures in a row that take an instance out'),
  },
  map,
);

const eject = z
  .strictObject(
    {
      failures: integer(1, 1000)
        .prefault(5)
        .describe('failures in a row (no connection, no answer, 502, 503 or 504) that take an instance out'),
      time: duration.prefault('10s').describe('how long it stays out'),
      floor: percentage.prefault('50%').describe('share of the instances that always stay in'),
    },
    map,
  )
  .describe('when an instance is taken out by its answers to requests');

const drain = z
  .strictObject(
    {
      websocket: duration.prefault('10s').describe('time until a WebSocket is told to go (1001)'),
      events: duration.prefault('10s').describe('time until a stream of server-sent events is ended'),
    },
    map,
  )
  .describe('how long those that would never end go on when their instance is drained');

const hold = z
  .strictObject(
    {
      requests: integer(0, 1_000_000).prefault(1000).describe('requests that may wait; 503 beyond'),
      bytes: size('1K', '1G')
        .prefault('16M')
        .describe('what may be kept of waiting requests: heads, and what came with them'),
      time: duration.prefault('30s').describe('time a request may wait'),
      health: httpPath.optional().describe('HTTP path that is answered with 200 meanwhile; none if left out'),
    },
    map,
  )
  .describe('bounds of the requests that wait while no instance can take them');

const limits = z
  .strictObject(
    {
      head: size('1K', '1M').prefault('16K').describe('longest head of a request'),
      body: size('1K', '1000G').optional().describe('longest body of a request; any if left out'),
    },
    map,
  )
  .describe('how large a request may be');

const timeouts = z
  .strictObject(
    {
      connect: duration.prefault('5s').describe('time to connect to an instance'),
      response: duration.prefault('60s').describe('from the end of a request to the head of its answer'),
      head: duration.prefault('15s').describe('time a client may take for the head of a request'),
      body: duration
        .prefault('60s')
        .describe('silence within an upload, or of a client that does not read its answer'),
      idle: duration.prefault('75s').describe('time a connection of a client is kept without a request'),
    },
    map,
  )
  .describe('how long the data plane waits for clients and instances');

/** The part of `unideploy.yaml` that says how clients reach the service. */
export const proxySchema = z
  .strictObject(
    {
      mode: choice('http', 'tcp')
        .prefault('http')
        .describe("tcp: connections are passed on as they are; the listener is this service's alone"),
      match,
      tls: tls.optional(),
      balance: choice(...BALANCES)
        .prefault('least-in-flight')
        .describe('which of several instances alike gets the next request'),
      sticky: sticky
        .prefault(false)
        .describe('a client stays with its instance, or at least its revision, by a cookie'),
      preview: preview.optional(),
      check: z
        .union([z.literal(false), proxyCheck], { error: 'expected false, or a map of keys' })
        .optional()
        .describe('HTTP checks by the data plane itself; false: none, which is the default with mode tcp'),
      eject: eject.prefault({}),
      drain: drain.prefault({}),
      hold: hold.prefault({}),
      limits: limits.prefault({}),
      timeouts: timeouts.prefault({}),
      accessLog: z
        .boolean({ error: 'expected true or false' })
        .prefault(false)
        .describe("a JSON line for every request, in the state folder's access.log"),
    },
    map,
  )
  .describe('how clients reach the service, and what the data plane does for it');
