import type { StrategyName } from '../src/domain/policy.ts';
import type { Strategy } from '../src/domain/strategy.ts';
import { rolling } from './rolling.ts';
import { volumeSwap } from './volume-swap.ts';

/** Every strategy by the name it has in the configuration. */
export const strategies: Record<StrategyName, Strategy> = { rolling, 'volume-swap': volumeSwap };
