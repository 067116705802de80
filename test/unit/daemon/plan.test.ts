import { describe, expect, it } from 'vitest';
import { simulate } from '../../../src/daemon/plan.ts';
import { strategies } from '../../../strategies/index.ts';
import { metric, policy } from '../../support/metrics.ts';
import { goalOf, POLICY, revision, rollout } from '../../support/revisions.ts';

describe('a plan', () => {
  it('promotes every gate, and takes every measurement as good, whatever its bounds', async () => {
    const steps = [
      { weight: 10, pause: null, analysis: true },
      { weight: 50, pause: 600_000, analysis: false },
    ];
    const opened = rollout(2, goalOf(null, 0), goalOf(1, 2), {
      strategy: 'canary',
      policy: { ...POLICY, steps, bake: 60_000, analysis: policy([metric()]) },
    });
    const entries = await simulate(opened, strategies.canary, [revision(1)], {
      machines: [],
      templates: [],
      table: null,
    });
    const events = entries.map(({ event }) => event);
    expect(entries.at(-1)).toMatchObject({ event: 'rollout-finished', verdict: 'succeeded' });
    expect(events).not.toContain('gate-stuck');
  });
});
