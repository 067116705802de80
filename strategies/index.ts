import type { OurStrategy } from '../src/domain/policy.ts';
import type { Strategy } from '../src/domain/strategy.ts';
import { blueGreen } from './blue-green.ts';
import { canary } from './canary.ts';
import { recreate } from './recreate.ts';
import { repair } from './repair.ts';
import { restore } from './restore.ts';
import { rolling } from './rolling.ts';
import { volumeSwap } from './volume-swap.ts';

/** Every strategy of ours by its name. */
export const strategies: Record<OurStrategy, Strategy> = {
  rolling,
  'blue-green': blueGreen,
  canary,
  'volume-swap': volumeSwap,
  recreate,
  repair,
  restore,
};
