import type { Hook, Hooks } from '../domain/hooks.ts';
import { DEFAULT_STEPS, type RolloutPolicy, type STRATEGIES } from '../domain/policy.ts';
import { analysisOf } from './analysis.ts';
import type { FileReference } from './config.ts';
import type { KeyPath } from './positions.ts';
import type { Declaration } from './schema.ts';

/** How the pool moves; a strategy of the user's own need not be there before the build commands have run. */
export type RolloutConfig = Omit<RolloutPolicy, 'strategy'> & {
  strategy: 'auto' | (typeof STRATEGIES)[number] | FileReference;
};

type Reference = (written: string, path: KeyPath) => FileReference;

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/** What `rollout` says, with all that it leaves to others. Hooks run in `folder`. */
export function rolloutOf(declaration: Declaration, folder: string, reference: Reference): RolloutConfig {
  const { strategy, canary, hooks, analysis, progressDeadline, ...rest } = declaration.rollout;
  const longest = longestAction(declaration);
  return {
    ...rest,
    strategy: typeof strategy === 'string' ? strategy : reference(strategy.file, ['rollout', 'strategy']),
    steps: canary.steps ?? DEFAULT_STEPS,
    hooks: hooksOf(hooks, folder),
    analysis: analysisOf(analysis, folder),
    progressDeadline: progressDeadline ?? Math.min(longest + MINUTE, DAY),
  };
}

/** How long a rollout may get on in nothing although all is well, in milliseconds. */
export function longestAction({ health, rollout }: Pick<Declaration, 'health' | 'rollout'>): number {
  const { minHealthy, drain, stop, verify } = rollout;
  return Math.max(health.deadline + minHealthy, drain + stop, drain + verify);
}

type Declared = Declaration['rollout']['hooks'];

function hooksOf(declared: Declared, folder: string): Hooks {
  const at = (hooks: Declared[keyof Declared]) => hooks.map((hook) => hookOf(hook, folder));
  return {
    'pre-build': at(declared['pre-build']),
    'pre-rollout': at(declared['pre-rollout']),
    'pre-cutover': at(declared['pre-cutover']),
    'post-cutover': at(declared['post-cutover']),
    'post-rollout': at(declared['post-rollout']),
    'on-rollback': at(declared['on-rollback']),
  };
}

function hookOf(
  { command, url = '', headers, timeout }: Declared['pre-build'][number],
  folder: string,
): Hook {
  return command === undefined
    ? { kind: 'http', url, headers, timeout }
    : { kind: 'command', command, folder, timeout };
}
