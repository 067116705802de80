import type { STRATEGIES } from '../src/domain/policy.ts';
import type { Strategy } from '../src/domain/strategy.ts';
import { blueGreen } from './blue-green.ts';
import { canary } from './canary.ts';
import { recreate } from './recreate.ts';
import { rolling } from './rolling.ts';
import { volumeSwap } from './volume-swap.ts';

/** Every strategy of ours by the name it has in the configuration. */
export const strategies: Record<(typeof STRATEGIES)[number], Strategy> = {
  rolling,
  'blue-green': blueGreen,
  canary,
  'volume-swap': volumeSwap,
  recreate,
};
