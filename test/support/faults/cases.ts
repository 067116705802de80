import type { Sampler } from '../seed.ts';
import type { Fault } from './fault.ts';

/** A rollout on real guests: with the strategy, over what it changes. */
export interface Move {
  strategy: 'rolling' | 'recreate' | 'blue-green' | 'canary' | 'volume-swap';
  change: 'image' | 'volumes';
}

export interface Case extends Pick<Fault, 'target' | 'blow'> {
  name: string;
  move: Move;
}

const TARGETS = ['controller', 'worker', 'data plane', 'old', 'new', 'cli'] as const;
const BLOWS = ['kill', 'stop', 'terminate'] as const;
const STRIKES = TARGETS.flatMap((target) => BLOWS.map((blow) => ({ target, blow })));

const MOVES: Move[] = [
  { strategy: 'rolling', change: 'image' },
  { strategy: 'recreate', change: 'image' },
  { strategy: 'blue-green', change: 'image' },
  { strategy: 'canary', change: 'image' },
  { strategy: 'blue-green', change: 'volumes' },
  { strategy: 'canary', change: 'volumes' },
  { strategy: 'volume-swap', change: 'volumes' },
];

/** Guests that have to boot take long: they are a small part of a sample. */
const SHARES = [1, 1, 0, 0, 4, 5, 7];

/** Every process and signal once, each with a strategy of which every one has its part. */
export function sampleOf({ some }: Sampler): Case[] {
  const deck = MOVES.flatMap((move, n) => Array.from({ length: SHARES[n] ?? 0 }, () => move));
  const moves = some(deck, deck.length);
  return STRIKES.map((strike, n) => caseOf(moves[n] ?? (deck[0] as Move), strike));
}

export function allCases(): Case[] {
  return MOVES.flatMap((move) => STRIKES.map((strike) => caseOf(move, strike)));
}

function caseOf(move: Move, strike: Pick<Case, 'target' | 'blow'>): Case {
  const { strategy, change } = move;
  return { name: `${strike.blow} ${strike.target}, ${strategy} over ${change}`, move, ...strike };
}
