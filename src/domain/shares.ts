import { FULL_WEIGHT, MOST_WEIGHT } from './action.ts';

/**
 * Weights that give `share` per cent of all requests to the new instances, and the rest to the old: exact where whole
 * numbers up to the greatest weight can say it, as near as they can otherwise. Every one serves unless its side gets nothing.
 */
export function shares(share: number, fresh: number, old: number): { fresh: number; old: number } {
  if (share <= 0 && old > 0) return { fresh: 0, old: FULL_WEIGHT };
  if (share >= 100 || old === 0) return { fresh: FULL_WEIGHT, old: 0 };
  if (fresh === 0) return { fresh: 0, old: FULL_WEIGHT };
  const exact = { fresh: share * old, old: (100 - share) * fresh };
  const divisor = commonDivisor(exact.fresh, exact.old);
  const most = Math.max(exact.fresh, exact.old) / divisor;
  const scale = most > MOST_WEIGHT ? MOST_WEIGHT / most : 1;
  const scaled = (weight: number) => Math.max(1, Math.round((weight / divisor) * scale));
  return { fresh: scaled(exact.fresh), old: scaled(exact.old) };
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
