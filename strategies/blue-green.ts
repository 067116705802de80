import type { Strategy } from '../src/domain/strategy.ts';
import { staged } from './staged.ts';

/**
 * A whole new pool beside the old one, which preview requests reach and others do not; then, once promoted, all requests
 * move with one table. The old pool stays through the bake time, and for the `warm` time after it: going back is one table.
 *
 * Code volumes move the same way between two halves of the guests: the half that waits for its volume is idle meanwhile.
 */
export const blueGreen: Strategy = {
  name: 'blue-green',
  next: staged(({ policy, change }) => ({
    atOnce: true,
    stages: [
      {
        size: change === 'volumes' ? 50 : 100,
        share: 0,
        gate: { key: 'promotion', wait: policy.promotion, hooks: null, analysed: false },
      },
    ],
  })),
};
