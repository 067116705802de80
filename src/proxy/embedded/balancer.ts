/** What the choice looks at. */
export interface Candidate {
  revision: number;
  /** share of new requests; 0: none */
  weight: number;
  inFlight: { readonly size: number };
  /** a time of `now`'s clock: not chosen before it while another can be */
  ejectedUntil: number;
}

/**
 * Chooses instances for requests. Between groups of instances of the same revision and weight the shares are exact
 * (smooth weighted round robin, as in nginx), so that a canary gets what its weight says however slow it is; within a
 * group the instance with the least in flight is taken, which keeps a stuck one from gathering requests.
 */
export class Balancer<T extends Candidate> {
  readonly #groups: Group<T>[];

  /** `before`: the balancer this one follows; where the groups are the same, its turns are carried on. */
  constructor(candidates: readonly T[], before?: Balancer<T>) {
    this.#groups = groupsOf(candidates);
    if (before !== undefined && sameGroups(this.#groups, before.#groups))
      for (const [index, group] of this.#groups.entries()) group.credit = before.#groups[index]?.credit ?? 0;
  }

  /** Whether any instance takes new requests. */
  get open(): boolean {
    return this.#groups.length > 0;
  }

  /** The instance for the next request, never one of `tried`; an ejected one only where no other is left. */
  choose(now: number, tried: readonly T[]): T | undefined {
    return this.#chooseAmong(now, tried) ?? this.#chooseAmong(Number.POSITIVE_INFINITY, tried);
  }

  #chooseAmong(now: number, tried: readonly T[]): T | undefined {
    let best: Group<T> | undefined;
    let bestMember: T | undefined;
    let total = 0;
    for (const group of this.#groups) {
      const member = leastBusy(group, now, tried);
      if (member === undefined) continue;
      group.credit += group.weight;
      total += group.weight;
      if (best === undefined || group.credit > best.credit) {
        best = group;
        bestMember = member;
      }
    }
    if (best === undefined || bestMember === undefined) return undefined;
    best.credit -= total;
    best.next = (best.members.indexOf(bestMember) + 1) % best.members.length;
    return bestMember;
  }
}

interface Group<T> {
  key: string;
  weight: number;
  credit: number;
  members: T[];
  /** where the search starts: among equals the turn goes round */
  next: number;
}

function groupsOf<T extends Candidate>(candidates: readonly T[]): Group<T>[] {
  const groups = new Map<string, Group<T>>();
  for (const candidate of candidates) {
    if (candidate.weight <= 0) continue;
    const key = `${candidate.revision}:${candidate.weight}`;
    const group = groups.get(key);
    if (group) {
      group.members.push(candidate);
      group.weight += candidate.weight;
    } else groups.set(key, { key, weight: candidate.weight, credit: 0, members: [candidate], next: 0 });
  }
  return [...groups.values()];
}

function sameGroups<T>(a: Group<T>[], b: Group<T>[]): boolean {
  return (
    a.length === b.length && a.every(({ key, weight }, i) => b[i]?.key === key && b[i]?.weight === weight)
  );
}

function leastBusy<T extends Candidate>(group: Group<T>, now: number, tried: readonly T[]): T | undefined {
  const { members, next } = group;
  let best: T | undefined;
  for (let i = 0; i < members.length; i++) {
    const member = members[(next + i) % members.length] as T;
    if (member.ejectedUntil > now || (tried.length > 0 && tried.includes(member))) continue;
    if (best === undefined || member.inFlight.size < best.inFlight.size) best = member;
  }
  return best;
}
