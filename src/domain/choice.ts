import { UnideployError } from '../errors.ts';
import type { StrategyChoice, StrategyName } from './policy.ts';
import { dataOf, difference, type RevisionSpec } from './revision.ts';
import { isByConfig, type RolloutKind } from './rollout.ts';

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
  if (to && dataOf(from).length + dataOf(to).length > 0) return chooseWithData(wanted, kind, from, to);
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

/** A disk is handed over: whoever has it goes before the next one comes. */
function chooseWithData(
  wanted: StrategyChoice,
  kind: RolloutKind,
  from: RevisionSpec | null,
  to: RevisionSpec,
): StrategyName {
  if (isByConfig(kind) && (wanted === 'rolling' || wanted === 'blue-green' || wanted === 'canary'))
    throw new UnideployError(
      'UD_USAGE',
      `${wanted} has two instances run at once, and a data volume is one instance's at a time`,
      'use rollout.strategy auto, volume-swap or recreate: requests wait while the disk is handed over',
    );
  if (wanted.startsWith('/')) return wanted as StrategyName;
  const swaps = wanted !== 'recreate' || kind === 'rollback';
  return from && swaps && kind !== 'restart' && difference(from, to) === 'volumes'
    ? 'volume-swap'
    : 'recreate';
}
