import type { Balance } from '../../../domain/traffic.ts';
import { type Candidate, type Group, groupsOf } from './group.ts';

export interface BalancerOptions {
  /** how one of several instances alike is chosen */
  balance: Balance;
  /** 0 to below 1; `Math.random` where it is left out */
  random?: () => number;
}

/**
 * Chooses instances for requests. Between groups of instances of the same revision and weight the shares are exact
 * (smooth weighted round robin, as in nginx), so that a canary gets what its weight says however slow it is; within a
 * group `balance` decides. A choice allocates nothing and costs a step for each group.
 */
export class Balancer<T extends Candidate> {
  readonly #groups: readonly Group<T>[];
  /** requests that were owed to revisions when their last weight went: one that comes back goes on from there */
  readonly #gone = new Map<number, number>();
  readonly #weight: number;

  /**
   * `before`: the balancer this one follows. Its turns are carried on: what a revision is owed stays owed when weights or
   * instances change, so tables shift no shares, however many there are. A new revision starts in the middle of its turn.
   */
  constructor(
    candidates: readonly T[],
    { balance, random = Math.random }: BalancerOptions,
    before?: Balancer<T>,
  ) {
    this.#groups = groupsOf(candidates, balance, random);
    this.#weight = sum(this.#groups.map(({ weight }) => weight));
    if (before === undefined) return;
    for (const group of this.#groups) group.goOnFrom(before.#groups);
    this.#takeDebtsOf(before);
  }

  /** Whether any instance takes new requests. */
  get open(): boolean {
    return this.#groups.length > 0;
  }

  /** The instance for the next request, never one of `tried`; an unusable one only where no other is left. */
  choose(usable: (candidate: T) => boolean, tried: readonly T[]): T | undefined {
    return this.#chooseAmong(usable, tried) ?? this.#chooseAmong(anyone, tried);
  }

  /** The same among the instances of one revision, and never an unusable one. What other revisions are owed stays. */
  chooseOf(revision: number, usable: (candidate: T) => boolean, tried: readonly T[]): T | undefined {
    return this.#chooseAmong(usable, tried, revision);
  }

  #chooseAmong(
    usable: (candidate: T) => boolean,
    tried: readonly T[],
    revision: number | undefined = undefined,
  ): T | undefined {
    let chosen: T | undefined;
    let group: Group<T> | undefined;
    for (;;) {
      group = this.#mostOwed(revision);
      chosen = group?.pick(usable, tried);
      if (group === undefined || chosen !== undefined) break;
      group.passed = true;
    }
    let weight = 0;
    for (const each of this.#groups) {
      if (group !== undefined && !each.passed && (revision === undefined || each.revision === revision)) {
        each.credit += each.weight;
        weight += each.weight;
      }
      each.passed = false;
    }
    if (group !== undefined) group.credit -= weight;
    return chosen;
  }

  #mostOwed(revision: number | undefined): Group<T> | undefined {
    let most: Group<T> | undefined;
    for (const group of this.#groups) {
      if (group.passed || (revision !== undefined && group.revision !== revision)) continue;
      if (most === undefined || group.credit + group.weight > most.credit + most.weight) most = group;
    }
    return most;
  }

  #takeDebtsOf(before: Balancer<T>): void {
    const mine = new Map(this.#groups.map((group) => [group.key, group]));
    const owed = new Map(before.#gone);
    for (const { key, revision, credit } of before.#groups) {
      const requests = credit / before.#weight;
      const same = mine.get(key);
      if (same) same.credit = requests * this.#weight;
      else owed.set(revision, (owed.get(revision) ?? 0) + requests);
    }
    for (const [revision, requests] of owed) {
      const heirs = this.#groups.filter((group) => group.revision === revision);
      const weight = sum(heirs.map((group) => group.weight));
      for (const heir of heirs) heir.credit += (requests * this.#weight * heir.weight) / weight;
      if (heirs.length === 0) this.#gone.set(revision, requests);
    }
    for (const revision of [...this.#gone.keys()].slice(0, -GONE_KEPT)) this.#gone.delete(revision);
    // what those are owed that have gone, or have come back, is everyone's to bear
    const balance = sum(this.#groups.map(({ credit }) => credit)) / this.#weight;
    for (const group of this.#groups) group.credit -= balance * group.weight;
  }
}

function sum(numbers: number[]): number {
  return numbers.reduce((all, each) => all + each, 0);
}

function anyone(): boolean {
  return true;
}

const GONE_KEPT = 16;
