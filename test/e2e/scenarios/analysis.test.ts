import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepare } from '../../support/cli/revisions.ts';
import { did, entry, type Story, serves, story } from '../../support/cli/story.ts';
import { takeDown } from '../../support/cli/take-down.ts';
import { counted, underLoad } from '../../support/cli/under-load.ts';
import { openWorkplace, type Workplace } from '../../support/cli/workplace.ts';
import type { Ledger } from '../../support/http/load.ts';

let place: Workplace;

/** Every guest takes its time: a latency of which twice as much can be told. */
const BOOT = 'ud.fault=slow:25';
/** So many requests a second give the canary its sample of 100 in some seconds. */
const RATE = 240;

beforeAll(async () => {
  place = await openWorkplace();
  await prepare(place, 'v1', { boot: BOOT });
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
});

afterAll(() => takeDown(place));

/** A canary of 10 per cent that goes no further unless these metrics say so. */
const judged = (metrics: unknown[], analysis: Record<string, unknown> = {}) => ({
  strategy: 'canary',
  canary: { steps: [{ weight: '10%', analysis: true }] },
  analysis: { interval: '1500ms', count: 6, metrics, ...analysis },
});

const BACK = { result: 'rolled-back', exitCode: 3, revision: 1 } as const;

const measured = ({ journal }: Story) =>
  journal.flatMap((each) => (each.event === 'measured' ? [each.measured] : []));

/** Expects that the first analysis found it, before the canary had more than its 10 per cent. */
function foundAtOnce(told: Story): void {
  expect(told.journal.filter(({ event }) => event === 'gate-reached')).toHaveLength(1);
  expect(entry(told, 'gate-reached')).toMatchObject({ gate: '10 per cent' });
  expect(measured(told).map(({ outcome }) => outcome)).toEqual([
    ...Array(measured(told).length - 1).fill('inconclusive'),
    'failure',
  ]);
  expect(measured(told).at(-1)?.sample).toBeGreaterThanOrEqual(100);
  expect(entry(told, 'rollback-started').reason.message).toContain(measured(told).at(-1)?.reason);
}

/** About a tenth of all requests while it had a share, and none of the others failed. */
function failedOnlyAtTheCanary({ failed, revisions, sent }: Ledger, canary: string): void {
  const { status, ...others } = failed;
  expect(others).toEqual({ connection: 0, truncated: 0, wrong: 0, timeout: 0 });
  const its = (revisions[canary] ?? 0) + status;
  expect(status).toBeGreaterThan(0);
  // the guest counts: every twentieth of its answers is an error
  expect(status).toBeLessThanOrEqual(Math.ceil(its / 20));
  expect(its).toBeLessThan(sent * 0.11);
}

describe('a canary of 10 per cent', () => {
  it('that answers 5 per cent with errors is found by its first analysis and goes: another image', async () => {
    await prepare(place, 'errors', {
      boot: `${BOOT},errors:5`,
      rollout: judged([{ figure: 'error-rate', max: '2%' }]),
    });
    const [outcome, ledger] = await counted(place, () => place.cli(['rollout', '--json']), '/', RATE);
    const told = await story(place, outcome, { ...BACK, code: 'UD_ANALYSIS_FAILED' });
    foundAtOnce(told);
    failedOnlyAtTheCanary(ledger, 'errors');
    expect(did(told, 'launch')).toHaveLength(1);
    await serves(place, 1);
  });

  it('that answers 5 per cent with errors is found by its first analysis and goes: another volume', async () => {
    await prepare(place, 'errors-too', {
      boot: BOOT,
      fault: 'errors:5',
      rollout: judged([{ figure: 'error-rate', max: '2%' }]),
    });
    const [outcome, ledger] = await counted(place, () => place.cli(['rollout', '--json']), '/', RATE);
    const told = await story(place, outcome, { ...BACK, code: 'UD_ANALYSIS_FAILED' });
    foundAtOnce(told);
    failedOnlyAtTheCanary(ledger, 'errors-too');
    expect(did(told, 'swapVolume')).toHaveLength(2);
    expect(did(told, 'launch')).toEqual([]);
    await serves(place, 1);
  });

  it('that takes twice as long is found by its first analysis and goes, and no request fails', async () => {
    await prepare(place, 'slow', {
      boot: BOOT,
      fault: 'slow:55',
      rollout: judged([{ figure: 'latency-mean', maxRatio: 1.5 }]),
    });
    const [outcome, ledger] = await underLoad(place, () => place.cli(['rollout', '--json']), '/', RATE);
    const told = await story(place, outcome, { ...BACK, code: 'UD_ANALYSIS_FAILED' });
    foundAtOnce(told);
    expect(ledger.revisions.slow).toBeGreaterThanOrEqual(100);
    await serves(place, 1);
  });

  it('is not passed without a request: nobody decides in time, and it goes', async () => {
    await prepare(place, 'unasked', {
      boot: BOOT,
      rollout: {
        ...judged([{ figure: 'error-rate', max: '2%' }], { interval: '200ms', count: 2 }),
        gateTimeout: { after: '1s' },
      },
    });
    const outcome = await place.cli(['rollout', '--on-gate', 'wait', '--json']);
    const told = await story(place, outcome, { ...BACK, code: 'UD_GATE_TIMEOUT' });
    expect(measured(told)).toMatchObject([
      { outcome: 'inconclusive', value: null },
      { outcome: 'inconclusive', value: null },
    ]);
    expect(entry(told, 'gate-stuck')).toMatchObject({ gate: '10 per cent' });
    await serves(place, 1);
  });

  it('goes when what measures it cannot be reached, after as many tries as are allowed', async () => {
    await prepare(place, 'unmeasured', {
      boot: BOOT,
      rollout: judged(
        [{ name: 'orders', prometheus: { url: await nowhere(), query: 'up' }, max: 1, errors: 2 }],
        { interval: '200ms' },
      ),
    });
    const [outcome] = await underLoad(place, () => place.cli(['rollout', '--json']));
    const told = await story(place, outcome, { ...BACK, code: 'UD_ANALYSIS_FAILED' });
    expect(measured(told).map(({ outcome: each }) => each)).toEqual(['error', 'error', 'error']);
    expect(told.rollout.reason?.message).toMatch(/orders could not be measured: .*\(3 times in a row\)/);
    await serves(place, 1);
  });

  it('waits for a person when it is neither good nor bad, and goes on when it is promoted', async () => {
    await prepare(place, 'v2', {
      boot: BOOT,
      rollout: judged([{ name: 'smoke', command: 'echo undecided; exit 2' }], {
        interval: '200ms',
        count: 2,
      }),
    });
    const waits = { result: 'paused', exitCode: 6, revision: 1, code: 'UD_PAUSED', state: 'open' } as const;
    const [, ledger] = await underLoad(place, async () => {
      const waiting = await story(place, await place.cli(['rollout', '--json']), waits);
      expect(entry(waiting, 'gate-stuck')).toMatchObject({
        gate: '10 per cent',
        reason: expect.stringContaining('undecided'),
      });
      const { open, instances } = await place.status();
      const { id, to } = waiting.rollout;
      expect(open?.id).toBe(id);
      expect(instances.filter(({ revision }) => revision === to.revision)).toHaveLength(1);

      // it is judged once more when it has everything
      const further = await story(place, await place.cli(['promote', '--json']), waits);
      expect(entry(further, 'gate-passed')).toMatchObject({ gate: '10 per cent', by: 'a test' });
      expect(further.journal.at(-1)).toMatchObject({ event: 'gate-stuck', gate: 'bake' });

      const succeeded = { result: 'succeeded', exitCode: 0, revision: to.revision, code: null };
      await story(place, await place.cli(['promote', '--json']), succeeded);
      await serves(place, to.revision ?? 0);
    });
    expect(Object.keys(ledger.revisions)).toEqual(['v1', 'v2']);
  });
});

/** Where nobody listens: the port of a server that has closed. */
async function nowhere(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}
