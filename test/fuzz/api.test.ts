import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_SUPERVISION } from '../../src/domain/supervision.ts';
import { DEFAULT_TRAFFIC } from '../../src/domain/traffic.ts';
import { type FuzzedController, fuzzedController } from '../support/fuzz/controller.ts';
import { mutated, mutatedJson } from '../support/fuzz/mutations.ts';
import {
  type ApiRoute,
  ask as askAt,
  contentType,
  query,
  refusedOrDone,
  segment,
  sent,
} from '../support/fuzz/requests.ts';
import { rounds } from '../support/fuzz/rounds.ts';
import { HEALTH, POLICY, revision } from '../support/revisions.ts';

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
  supervision: DEFAULT_SUPERVISION,
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
const ask = (route: ApiRoute, text: string | null, type?: string) =>
  askAt(controller.socket, route, text, type);

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
          contentType,
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
        await sent(controller.socket, `${text}\r\n\r\n`, true);
      }),
      { numRuns: rounds(200) },
    );
    expect(await ask({ method: 'GET', path: '/ping' }, null)).toMatchObject({ status: 200 });
  });
});
