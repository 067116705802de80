import type { Clock } from '../domain/clock.ts';
import type { StrategyName } from '../domain/policy.ts';
import type { Strategy } from '../domain/strategy.ts';
import type { HookRunner } from '../hooks/port.ts';
import type { Measures } from '../measure/port.ts';
import type { Teller } from '../probe/port.ts';
import type { RolloutStore } from '../store/port.ts';
import type { Senses } from './observe.ts';
import type { Templates } from './templates.ts';

/** What a rollout is moved by. */
export interface EngineParts extends Senses {
  store: RolloutStore;
  clock: Clock;
  strategyOf: (name: StrategyName) => Promise<Strategy>;
  hooks: HookRunner;
  tell: Teller;
  measures: Measures;
  templates: Templates;
  /** told of every new journal entry, after it was written */
  onJournal: (rollout: number) => void;
  /** calls back when somebody has told a rollout something; returns the way to unsubscribe */
  onOrder: (rollout: number, listener: () => void) => () => void;
}
