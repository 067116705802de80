import { expect } from 'vitest';
import { failedOf, type Ledger } from '../http/load.ts';
import { eventually } from '../qemu/asking.ts';
import type { Workplace } from './workplace.ts';

/** Waits until a client has had an answer of this code, by its name. */
type Sees = (revision: string) => Promise<void>;

/** Does something while clients send requests, before, during and after it, and expects that not one of them failed. */
export async function underLoad<T>(
  place: Workplace,
  act: (sees: Sees) => Promise<T>,
  path = '/',
  rate?: number,
): Promise<[T, Ledger]> {
  const [result, ledger] = await counted(place, act, path, rate);
  return [result, noneFailed(ledger)];
}

/**
 * The same, for a revision that answers with errors by design: who calls it says how many failures there may be.
 * @param rate requests a second
 */
export async function counted<T>(
  place: Workplace,
  act: (sees: Sees) => Promise<T>,
  path = '/',
  rate?: number,
): Promise<[T, Ledger]> {
  const load = await place.load(path, rate);
  const more = async () => {
    const enough = load.ledger.ok + 10;
    await eventually('10 more answers', () => load.ledger.ok + failedOf(load.ledger) >= enough);
  };
  const sees: Sees = async (revision) => {
    await eventually(`an answer of ${revision}`, () => (load.ledger.revisions[revision] ?? 0) > 0);
  };
  const work = async () => {
    await more();
    const result = await act(sees);
    await more();
    return result;
  };
  const result = await work().catch(async (error: unknown) => {
    await load.stop();
    throw error;
  });
  return [result, await load.stop()];
}

function noneFailed(ledger: Ledger): Ledger {
  const causes = ledger.failures.map(({ at, kind, cause }) => `${at} ${kind}: ${cause.trim()}`);
  expect({ failed: failedOf(ledger), causes }).toEqual({ failed: 0, causes: [] });
  return ledger;
}
