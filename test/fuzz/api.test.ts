import { once } from 'node:events';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../src/domain/traffic.ts';
import { ERROR_CODES } from '../../src/errors.ts';
import { type ApiRoute, type FuzzedController, fuzzedController } from '../support/fuzz/controller.ts';
import { mutated, mutatedJson } from '../support/fuzz/mutations.ts';
import { rounds } from '../support/fuzz/rounds.ts';
import { HEALTH, POLICY, revision } from '../support/revisions.ts';

/** Milliseconds in which an answer has begun, on a crowded machine. */
const DEADLINE = 10_000;

let controller: FuzzedController;

beforeAll(async () => {
  controller = await fuzzedController();
  const { status, text } = await ask(
    { method: 'POST', path: '/services/site/rollouts' },
    JSON.stringify(DEPLOY),
  );
  expect(status, text).toBe(200);
});

afterAll(() => controller.close());

const { image, machine, volumes, checks } = revision(1, { code: 'c' });
const performer = 'a fuzzer';
const DEPLOY = {
  kind: 'rollout',
  spec: { image, machine, volumes, checks },
  replicas: 2,
  listen: { host: '127.0.0.1', port: 0 },
  traffic: DEFAULT_TRAFFIC,
  policy: POLICY,
  health: HEALTH,
  performer,
  gitCommit: null,
  expect: null,
  force: false,
  supersede: false,
};
/** One of these is what a route takes; each is tried on all of them. */
const BODIES = [
  DEPLOY,
  { performer },
  { performer, to: 1 },
  { performer, replicas: 2 },
  { performer, full: true },
  { performer, rollout: 1 },
];

const body = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom<unknown>(...BODIES).chain(mutatedJson) },
  { weight: 2, arbitrary: fc.constantFrom(...BODIES.map((each) => JSON.stringify(each))) },
  { weight: 2, arbitrary: mutated(BODIES.map((each) => JSON.stringify(each))) },
  fc.json(),
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.constantFrom('', '{', 'x'.repeat(2 << 20), `"${'\\u0000'.repeat(200_000)}"`, '['.repeat(500_000)),
);
const type = fc.oneof(
  { weight: 8, arbitrary: fc.constant('application/json') },
  fc.constantFrom(
    'application/octet-stream',
    'application/json; charset=utf-16',
    'text/plain',
    'multipart/form-data; boundary=x',
    'application/x-www-form-urlencoded',
    '',
    ';;;',
    '*/*',
    'application/json, text/plain',
  ),
);
/** What stands in a path, as it goes over the wire. */
const segment = fc.oneof(
  { weight: 4, arbitrary: fc.constant('site') },
  fc.constantFrom(
    '1',
    '0',
    '-1',
    '1e999',
    '1152921504606846976',
    '0x10',
    'NaN',
    '1.5',
    '',
    '%00',
    '%',
    '%zz',
  ),
  fc.constantFrom('%2e%2e%2f', '..', '__proto__', 'constructor', 'c'.repeat(64), 'site-1-1', '%F0%9F', ':x'),
  fc.constantFrom('a'.repeat(5_000), '%0d%0aX: y', '%1b%5b2J', "'%20or%201=1", '*', 'site;x=y'),
  fc.string({ unit: 'binary', maxLength: 12 }).map((text) => encodeURIComponent(wellFormed(text))),
);
const query = fc.oneof(
  { weight: 3, arbitrary: fc.constant('') },
  fc
    .tuple(fc.constantFrom('after', 'lines', 'follow', '__proto__', 'x'), segment)
    .map(([key, value]) => `?${key}=${value}`),
  fc.constantFrom(
    '?',
    '?after=1&after=2',
    '?after[]=1',
    '?after[__proto__]=1',
    '?lines=1e999',
    `?${'a&'.repeat(2_000)}`,
  ),
);

describe('the API', () => {
  it('answers any request to any of its routes, and is as it was afterwards', async () => {
    const paths = controller.routes.map(({ path }) => path);
    for (const known of [
      '/ping',
      '/artifacts/:digest',
      '/services/:service/rollouts',
      '/rollouts/:id/journal',
    ])
      expect(paths).toContain(known);
    const each = controller.routes.filter(({ method }) => method !== 'HEAD');
    for (const route of each) {
      await fc.assert(
        fc.asyncProperty(
          fc.array(segment, { minLength: 3, maxLength: 3 }),
          query,
          type,
          body,
          async (...said) => {
            const [segments, asked, sort, text] = said;
            let next = 0;
            const path = route.path.replaceAll(/:\w+/g, () => segments[next++] ?? 'x') + asked;
            const sends = route.method !== 'GET';
            refusedOrDone(await ask({ method: route.method, path }, sends ? text : null, sort));
          },
        ),
        { numRuns: rounds(60) },
      );
      expect(await ask({ method: 'GET', path: '/ping' }, null)).toMatchObject({ status: 200 });
    }
  });

  it('answers, or hangs up on, what is no request at all', async () => {
    const requests = [
      'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n',
      'POST /stop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}',
    ];
    await fc.assert(
      fc.asyncProperty(mutated(requests), async (text) => {
        await sent(`${text}\r\n\r\n`, true);
      }),
      { numRuns: rounds(200) },
    );
    expect(await ask({ method: 'GET', path: '/ping' }, null)).toMatchObject({ status: 200 });
  });
});

interface Answer {
  status: number;
  text: string;
}

/** Expects no fault of the server's own, and every refusal to have a code, a cause in one line and a next step. */
function refusedOrDone({ status, text }: Answer): void {
  const said = `${status} ${text.slice(0, 500)}`;
  expect(status, said).toBeLessThan(500);
  if (status < 400 || text === '') return;
  const { error } = JSON.parse(text) as { error: { code: string; message: string; next: string } };
  expect(Object.keys(ERROR_CODES), said).toContain(error.code);
  expect(error.code, said).not.toBe('UD_INTERNAL');
  expect(error.message, said).toMatch(/^\P{Cc}+$/u);
  expect(error.next, said).not.toBe('');
}

/** One request over a connection of its own. */
async function ask(
  { method, path }: ApiRoute,
  text: string | null,
  sort = 'application/json',
): Promise<Answer> {
  const bytes = text === null ? null : Buffer.from(text, 'utf8');
  const head = [
    `${method} ${path} HTTP/1.1`,
    'Host: controller',
    'Connection: close',
    ...(sort === '' || bytes === null ? [] : [`Content-Type: ${sort}`]),
    ...(bytes === null ? [] : [`Content-Length: ${bytes.length}`]),
  ].join('\r\n');
  const answer = await sent(Buffer.concat([Buffer.from(`${head}\r\n\r\n`), bytes ?? Buffer.alloc(0)]), false);
  const [, status = '0'] = /^HTTP\/1\.1 (\d{3})/.exec(answer) ?? [];
  return { status: Number(status), text: bodyOf(answer) };
}

/** What comes back until the server hangs up, or, of a stream that goes on, its beginning. */
async function sent(request: string | Buffer, isOver: boolean): Promise<string> {
  const socket = connect(controller.socket);
  let answer = '';
  let timer: NodeJS.Timeout | undefined;
  socket.on('error', () => {});
  const begun = new Promise<void>((resolve) => {
    socket.on('data', (piece) => {
      answer += piece.toString('latin1');
      if (/transfer-encoding: chunked\r\n[\s\S]*\r\n\r\n/i.test(answer)) resolve();
    });
  });
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no answer to ${request.toString('latin1').slice(0, 300)}`)),
      DEADLINE,
    );
  });
  socket.write(request);
  if (isOver) socket.end();
  try {
    await Promise.race([once(socket, 'close'), begun, late]);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
  return answer;
}

function bodyOf(answer: string): string {
  return Buffer.from(answer.split('\r\n\r\n').slice(1).join('\r\n\r\n'), 'latin1').toString('utf8');
}

function wellFormed(text: string): string {
  return Buffer.from(text, 'utf8').toString('utf8');
}
