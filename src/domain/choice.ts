import { UnideployError } from '../errors.ts';
import type { StrategyChoice, StrategyName } from './policy.ts';
import { difference, type RevisionSpec } from './revision.ts';
import type { RolloutKind } from './rollout.ts';

/**
 * The strategy of a rollout between two revisions. `auto`: volumes are swapped when only they differ; everything else
 * wants other instances.
 * @throws UD_USAGE
 */
export function choose(
  wanted: StrategyChoice,
  kind: RolloutKind,
  from: RevisionSpec | null,
  to: RevisionSpec | null,
): StrategyName {
  if (kind === 'repair' || kind === 'restore') return kind;
  if (!from || !to || kind === 'scale') return 'rolling';
  const change = difference(from, to);
  if (wanted === 'volume-swap' && change === 'image') {
    throw new UnideployError(
      'UD_USAGE',
      'volume-swap cannot change the image or the machine, and they differ from what runs',
      'use rollout.strategy auto, rolling, blue-green or canary',
    );
  }
  // nothing is quicker than to put the old volumes back
  const swaps =
    wanted === 'auto' || wanted === 'volume-swap' || (kind === 'rollback' && wanted !== 'rolling');
  if (swaps && change === 'volumes') return 'volume-swap';
  const moves = change !== 'none' || kind === 'restart' || kind === 'rollout';
  return wanted === 'auto' || wanted === 'volume-swap' || !moves ? 'rolling' : wanted;
}
