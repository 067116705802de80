import type { Strategy } from '../src/domain/strategy.ts';
import { staged } from './staged.ts';

/**
 * A small part of the new revision gets a small share of the requests, and more with every step that passes its pause and
 * its analysis; the old pool stays whole until all requests have moved.
 *
 * Code volumes go to as many guests as the step's share; after the last step the rest is swapped in place.
 */
export const canary: Strategy = {
  name: 'canary',
  next: staged(({ policy }) => ({
    atOnce: false,
    stages: policy.steps.map(({ weight, pause, analysis }) => ({
      size: weight,
      share: weight,
      gate: { key: `${weight} per cent`, wait: pause, hooks: null, analysed: analysis },
    })),
  })),
};
