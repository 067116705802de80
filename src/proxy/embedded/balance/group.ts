import type { Balance } from '../../../domain/traffic.ts';

/** What the choice looks at. */
export interface Candidate {
  revision: number;
  /** share of new requests; 0: none */
  weight: number;
  inFlight: { readonly size: number };
}

/**
 * Instances of one revision and weight: they are alike, and one of them is chosen by `balance`.
 *
 * `least-in-flight` looks at 32 instances, from the one whose turn it is: that bounds its cost, finds an idle one wherever
 * there are some, and comes round to all of them. `power-of-two` draws two, and goes on from a drawn one where too few can
 * be chosen for luck to find them.
 */
export class Group<T extends Candidate> {
  readonly key: string;
  readonly revision: number;
  /** of all members */
  readonly weight: number;
  /** what it is owed of the requests so far, times the weight of all groups */
  credit = 0;
  /** has nobody for the request that is being placed */
  passed = false;
  readonly #members: readonly T[];
  readonly #balance: Balance;
  readonly #random: () => number;
  /** among equals the turn goes round */
  #next: number;

  constructor(members: readonly [T, ...T[]], balance: Balance, random: () => number) {
    const [{ revision, weight }] = members;
    this.key = keyOf(members[0]);
    this.revision = revision;
    this.weight = weight * members.length;
    this.#members = members;
    this.#balance = balance;
    this.#random = random;
    this.#next = this.#draw();
  }

  /** Goes on with the turn of the first of `earlier` whose next member is one of this group's. */
  goOnFrom(earlier: readonly Group<T>[]): void {
    for (const { revision, turn } of earlier) {
      const at = revision === this.revision && turn ? this.#members.indexOf(turn) : -1;
      if (at === -1) continue;
      this.#next = at;
      return;
    }
  }

  get turn(): T | undefined {
    return this.#members[this.#next];
  }

  pick(usable: (candidate: T) => boolean, tried: readonly T[]): T | undefined {
    switch (this.#balance) {
      case 'round-robin':
        return this.#following(this.#next, usable, tried);
      case 'least-in-flight':
        return this.#leastBusy(usable, tried);
      case 'power-of-two':
        return this.#lessBusyOfTwo(usable, tried);
    }
  }

  #following(from: number, usable: (candidate: T) => boolean, tried: readonly T[], but?: T): T | undefined {
    const members = this.#members;
    for (let i = 0, at = from; i < members.length; i++, at++) {
      if (at === members.length) at = 0;
      const member = members[at] as T;
      if (member === but || !free(member, usable, tried)) continue;
      this.#pass(at);
      return member;
    }
    return undefined;
  }

  #leastBusy(usable: (candidate: T) => boolean, tried: readonly T[]): T | undefined {
    const members = this.#members;
    let best: T | undefined;
    let bestAt = 0;
    let least = Number.POSITIVE_INFINITY;
    let left = LOOKED_AT;
    for (let i = 0, at = this.#next; i < members.length && left > 0 && least > 0; i++, at++) {
      if (at === members.length) at = 0;
      const member = members[at] as T;
      if (!free(member, usable, tried)) continue;
      left--;
      const { size } = member.inFlight;
      if (size >= least) continue;
      best = member;
      bestAt = at;
      least = size;
    }
    if (best !== undefined) this.#pass(bestAt);
    return best;
  }

  #lessBusyOfTwo(usable: (candidate: T) => boolean, tried: readonly T[]): T | undefined {
    const one = this.#drawFree(usable, tried);
    if (one === undefined || this.#members.length === 1) return one;
    const other = this.#drawFree(usable, tried, one);
    return other !== undefined && other.inFlight.size < one.inFlight.size ? other : one;
  }

  #drawFree(usable: (candidate: T) => boolean, tried: readonly T[], but?: T): T | undefined {
    for (let draws = 0; draws < DRAWS; draws++) {
      const member = this.#members[this.#draw()] as T;
      if (member !== but && free(member, usable, tried)) return member;
    }
    return this.#following(this.#draw(), usable, tried, but);
  }

  #draw(): number {
    return Math.floor(this.#random() * this.#members.length);
  }

  #pass(at: number): void {
    this.#next = at + 1 === this.#members.length ? 0 : at + 1;
  }
}

/** The candidates with a weight, by revision and weight. */
export function groupsOf<T extends Candidate>(
  candidates: readonly T[],
  balance: Balance,
  random: () => number,
): Group<T>[] {
  const groups = new Map<string, [T, ...T[]]>();
  for (const candidate of candidates) {
    if (candidate.weight <= 0) continue;
    const key = keyOf(candidate);
    const members = groups.get(key);
    if (members) members.push(candidate);
    else groups.set(key, [candidate]);
  }
  return [...groups.values()].map((members) => new Group(members, balance, random));
}

function free<T>(member: T, usable: (candidate: T) => boolean, tried: readonly T[]): boolean {
  return !(tried.length > 0 && tried.includes(member)) && usable(member);
}

function keyOf({ revision, weight }: Candidate): string {
  return `${revision}:${weight}`;
}

const LOOKED_AT = 32;
/** with a quarter of the members free, one in ten choices has to go on from where it stands */
const DRAWS = 8;
