import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BALANCES, type Balance } from '../../../src/domain/traffic.ts';
import { Balancer } from '../../../src/proxy/embedded/balance/balancer.ts';

class Member {
  readonly revision: number;
  readonly weight: number;
  readonly inFlight: { size: number };
  usable = true;

  constructor(revision: number, weight: number, busy = 0) {
    this.revision = revision;
    this.weight = weight;
    this.inFlight = { size: busy };
  }
}

const usable = (member: Member) => member.usable;
const members = (count: number, revision = 1, weight = 100) =>
  Array.from({ length: count }, () => new Member(revision, weight));

/** Chooses `times` times and counts by what `by` says of the chosen. */
function counts<K>(balancer: Balancer<Member>, times: number, by: (member: Member) => K): Map<K, number> {
  const seen = new Map<K, number>();
  for (let i = 0; i < times; i++) {
    const chosen = balancer.choose(usable, []);
    if (chosen) seen.set(by(chosen), (seen.get(by(chosen)) ?? 0) + 1);
  }
  return seen;
}

const itself = (member: Member) => member;
const revisionOf = (member: Member) => member.revision;

describe.each(BALANCES)('%s', (balance) => {
  it.each([1, 5, 50, 99])('gives a canary exactly %i per cent', (share) => {
    const all = [...members(2, 1, 100 - share), new Member(2, 2 * share)];
    const balancer = new Balancer(all, { balance });
    const canary = counts(balancer, 10_000, revisionOf).get(2) ?? 0;
    expect(Math.abs(canary - share * 100)).toBeLessThanOrEqual(1);
  });

  it('never chooses one of those that were tried, and an unusable one only where no other is left', () => {
    const all = members(3);
    const [bad, good, other] = all as [Member, Member, Member];
    bad.usable = false;
    const balancer = new Balancer(all, { balance });
    for (let i = 0; i < 50; i++) {
      expect(balancer.choose(usable, [])).not.toBe(bad);
      expect(balancer.choose(usable, [good])).toBe(other);
      expect(balancer.choose(usable, [good, other])).toBe(bad);
      expect(balancer.choose(usable, all)).toBeUndefined();
    }
  });

  it('takes an unusable one of a revision only where no revision has another', () => {
    const [stable, canary] = [new Member(1, 99), new Member(2, 1)];
    const balancer = new Balancer([stable, canary], { balance });
    stable.usable = false;
    expect([...counts(balancer, 500, itself).keys()]).toEqual([canary]);
    canary.usable = false;
    expect(counts(balancer, 500, itself).size).toBe(2);
  });

  it('does not make up for the time in which a revision could take nothing', () => {
    const [stable, canary] = [new Member(1, 50), new Member(2, 50)];
    const balancer = new Balancer([stable, canary], { balance });
    canary.usable = false;
    counts(balancer, 1_000, itself);
    canary.usable = true;
    expect(Math.abs((counts(balancer, 100, itself).get(canary) ?? 0) - 50)).toBeLessThanOrEqual(1);
  });

  it('reaches every one of 500 instances', () => {
    expect(counts(new Balancer(members(500), { balance }), 20_000, itself).size).toBe(500);
  });

  it('stays within a revision where it is asked to, and finds nothing where that has nobody usable', () => {
    const [a, b, c] = [new Member(1, 100), new Member(2, 10), new Member(2, 30)];
    const balancer = new Balancer([a, b, c], { balance });
    for (let i = 0; i < 20; i++) expect(balancer.chooseOf(2, usable, [])?.revision).toBe(2);
    expect(balancer.chooseOf(2, usable, [b, c])).toBeUndefined();
    b.usable = false;
    c.usable = false;
    expect(balancer.chooseOf(2, usable, [])).toBeUndefined();
    expect(balancer.chooseOf(3, usable, [])).toBeUndefined();
  });

  it('keeps the shares whatever tables come, and however fast', () => {
    const step = fc.record({
      canary: fc.integer({ min: 0, max: 20 }),
      stable: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }),
      requests: fc.integer({ min: 0, max: 30 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let balancer: Balancer<Member> | undefined;
        let due = 0;
        let got = 0;
        for (const { canary, stable, requests } of steps) {
          const all = [new Member(2, canary), ...stable.map((weight) => new Member(1, weight * 40))];
          balancer = new Balancer(all, { balance }, balancer);
          got += counts(balancer, requests, revisionOf).get(2) ?? 0;
          due += (requests * canary) / all.reduce((sum, { weight }) => sum + weight, 0);
        }
        expect(Math.abs(got - due)).toBeLessThanOrEqual(2);
      }),
    );
  });
});

describe('a new revision', () => {
  const tables = (balance: Balance) => {
    const stable = members(3, 1, 33);
    const before = new Balancer(stable, { balance });
    counts(before, 1_000, itself);
    return new Balancer([...stable, new Member(2, 1)], { balance }, before);
  };

  it('of 1 per cent gets its first request in the middle of the first hundred', () => {
    const balancer = tables('round-robin');
    expect(counts(balancer, 40, revisionOf).get(2)).toBeUndefined();
    expect(counts(balancer, 20, revisionOf).get(2)).toBe(1);
    expect(counts(balancer, 1_000, revisionOf).get(2)).toBe(10);
  });

  it('starts there too when another has just left in the middle of its own', () => {
    const stable = new Member(1, 99);
    const options = { balance: 'round-robin' } as const;
    const two = new Balancer([stable, new Member(2, 99)], options);
    counts(two, 1, itself);
    const alone = new Balancer([stable], options, two);
    const balancer = new Balancer([stable, new Member(3, 1)], options, alone);
    expect(counts(balancer, 45, revisionOf).get(3)).toBeUndefined();
    expect(counts(balancer, 10, revisionOf).get(3)).toBe(1);
  });

  it('gets its share, no less and no more, while tables come every few requests', () => {
    let balancer = tables('round-robin');
    let canary = 0;
    for (let i = 0; i < 1_000; i++) {
      const table = [...members(3, 1, 33), new Member(2, 1)];
      balancer = new Balancer(table, { balance: 'round-robin' }, balancer);
      canary += counts(balancer, 7, revisionOf).get(2) ?? 0;
    }
    expect(Math.abs(canary - 70)).toBeLessThanOrEqual(1);
  });

  it('goes on where it was when its weight had gone for a while', () => {
    const stable = new Member(1, 99);
    let balancer = tables('round-robin');
    let canary = 0;
    for (let i = 0; i < 1_000; i++) {
      balancer = new Balancer([stable, new Member(2, i % 2)], { balance: 'round-robin' }, balancer);
      canary += counts(balancer, 20, revisionOf).get(2) ?? 0;
    }
    expect(Math.abs(canary - 100)).toBeLessThanOrEqual(1);
  });
});

describe('round robin', () => {
  it('gives each its turn, and goes on with the next when tables come or instances go', () => {
    const all = members(5);
    const balancer = new Balancer(all, { balance: 'round-robin', random: () => 0 });
    expect([1, 2].map(() => balancer.choose(usable, []))).toEqual([all[0], all[1]]);
    const same = new Balancer(all, { balance: 'round-robin' }, balancer);
    expect(same.choose(usable, [])).toBe(all[2]);
    const fewer = new Balancer(all.slice(1), { balance: 'round-robin' }, same);
    expect([1, 2, 3].map(() => fewer.choose(usable, []))).toEqual([all[3], all[4], all[1]]);
  });

  it('does not favour the first when tables come faster than requests', () => {
    const all = members(4);
    let balancer = new Balancer<Member>([], { balance: 'round-robin' });
    const seen = new Map<Member, number>();
    for (let i = 0; i < 400; i++) {
      balancer = new Balancer(all, { balance: 'round-robin' }, balancer);
      const chosen = balancer.choose(usable, []);
      if (chosen) seen.set(chosen, (seen.get(chosen) ?? 0) + 1);
    }
    expect(all.map((member) => seen.get(member))).toEqual([100, 100, 100, 100]);
  });
});

describe('least in flight', () => {
  it('takes the least busy one; among equals the turn goes round', () => {
    const all = [3, 1, 2, 1].map((busy) => new Member(1, 100, busy));
    const balancer = new Balancer(all, { balance: 'least-in-flight', random: () => 0 });
    expect([1, 2, 3].map(() => balancer.choose(usable, []))).toEqual([all[1], all[3], all[1]]);
  });

  it('leaves busy ones alone among 500', () => {
    const all = members(500);
    for (const stuck of all.filter((_, i) => i % 3 === 0)) stuck.inFlight.size = 1_000;
    const seen = counts(new Balancer(all, { balance: 'least-in-flight' }), 5_000, itself);
    expect([...seen.keys()].filter(({ inFlight }) => inFlight.size > 0)).toEqual([]);
  });
});

describe('power of two', () => {
  it('draws two different ones and takes the less busy', () => {
    const all = [5, 0, 9, 1].map((busy) => new Member(1, 100, busy));
    // where the turn starts; then the draws: 2, again 2, 3
    const draws = [0, 0.5, 0.5, 0.75];
    const balancer = new Balancer(all, { balance: 'power-of-two', random: () => draws.shift() ?? 0 });
    expect(balancer.choose(usable, [])).toBe(all[3]);
    expect(draws).toEqual([]);
  });

  it('never takes the busiest of several', () => {
    const all = [4, 1, 2, 3].map((busy) => new Member(1, 100, busy));
    const seen = counts(new Balancer(all, { balance: 'power-of-two' }), 2_000, itself);
    expect(seen.has(all[0] as Member)).toBe(false);
    expect(seen.size).toBe(3);
  });

  it('finds the one that can be chosen among 500', () => {
    const all = members(500);
    for (const member of all) member.usable = false;
    const last = all[123] as Member;
    last.usable = true;
    expect([...counts(new Balancer(all, { balance: 'power-of-two' }), 500, itself).keys()]).toEqual([last]);
  });
});

it('without a weight nobody is chosen', () => {
  const balancer = new Balancer(members(2, 1, 0), { balance: 'round-robin' });
  expect(balancer.open).toBe(false);
  expect(balancer.choose(usable, [])).toBeUndefined();
});
