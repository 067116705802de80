import { type Action, FULL_WEIGHT } from '../../domain/action.ts';

/** The verb of each action: under way, done, to be done. */
const VERBS: Record<Action['kind'], [doing: string, did: string, todo: string]> = {
  launch: ['launching', 'launched', 'launch'],
  admit: ['admitting', 'admitted', 'admit'],
  drain: ['draining', 'drained', 'drain'],
  retire: ['retiring', 'retired', 'retire'],
  swapVolume: ['swapping the volume of', 'swapped the volume of', 'swap the volume of'],
  shift: ['shifting', 'shifted', 'shift'],
};

/** Present tense, for what is under way. */
export function doing(action: Action): string {
  return `${VERBS[action.kind][0]} ${object(action)}`;
}

/** Past tense; `planned` steps are told as what is to be done. */
export function did(action: Action, planned: 'planned' | null): string {
  return `${VERBS[action.kind][planned ? 2 : 1]} ${object(action)}`;
}

function object(action: Action): string {
  switch (action.kind) {
    case 'shift':
      return shares(action.weights);
    case 'admit':
      return `${action.instance}${share(action.weight)}`;
    case 'swapVolume':
      return `${action.instance}${action.hold ? ', requests held' : ''}`;
    default:
      return action.instance;
  }
}

function share(weight: number): string {
  if (weight === FULL_WEIGHT) return '';
  return weight === 0 ? ' for previews alone' : ` at weight ${weight}`;
}

/** `site-2-1 to weight 10, 3 instances to weight 90`: those of one weight together. */
function shares(weights: Record<string, number>): string {
  const byWeight = new Map<number, string[]>();
  for (const [instance, weight] of Object.entries(weights))
    byWeight.set(weight, [...(byWeight.get(weight) ?? []), instance]);
  return [...byWeight]
    .map(([weight, ids]) => `${ids.length === 1 ? ids[0] : `${ids.length} instances`} to weight ${weight}`)
    .join(', ');
}
