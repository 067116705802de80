import { strategies } from '../../strategies/index.ts';
import { type OurStrategy, STRATEGIES, type StrategyName } from '../domain/policy.ts';
import type { Strategy } from '../domain/strategy.ts';
import { UnideployError } from '../errors.ts';

const OURS: readonly OurStrategy[] = [...STRATEGIES, 'repair', 'restore'];

/**
 * The strategy of that name, or the one that a module exports as its default: `{ name, next }`, see strategies/README.md.
 * A module is read once in the life of a controller.
 * @throws UD_STRATEGY
 */
export async function strategyOf(name: StrategyName): Promise<Strategy> {
  const ours = OURS.find((known) => known === name);
  if (ours) return strategies[ours];
  const loaded: { default?: Partial<Strategy> } = await import(name).catch((error: Error) => {
    throw broken(name, error.message);
  });
  const strategy = loaded.default;
  if (typeof strategy?.next !== 'function' || typeof strategy.name !== 'string')
    throw broken(name, 'its default export is no { name, next }');
  return strategy as Strategy;
}

function broken(name: string, cause: string): UnideployError {
  return new UnideployError(
    'UD_STRATEGY',
    `the strategy ${name} cannot be used: ${cause.replaceAll('\n', ' ')}`,
    'see strategies/README.md for what a strategy of your own has to export',
  );
}
