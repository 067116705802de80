import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ejection } from '../../../src/proxy/embedded/balance/ejection.ts';

const POLICY = { failures: 3, time: 10_000, floor: 50 };

interface Member {
  weight: number;
}

/** A service of so many instances, failing as the test wants. */
function scene(count = 4, policy = POLICY) {
  const members: Member[] = Array.from({ length: count }, () => ({ weight: 100 }));
  const ejection = new Ejection<Member>(policy);
  ejection.apply(policy, members);
  return {
    ejection,
    members,
    at: (index: number) => members[index] as Member,
    fail: (index: number, now: number, times = policy.failures) => {
      for (let i = 0; i < times; i++) ejection.failed(members[index] as Member, 'answer', now);
    },
    out: (now: number) => members.flatMap((member, index) => (ejection.out(member, now) ? [index] : [])),
  };
}

describe('failures in a row', () => {
  it('take an instance out for a time', () => {
    const { fail, out } = scene();
    fail(1, 0, 2);
    expect(out(0)).toEqual([]);
    fail(1, 5, 1);
    expect(out(5)).toEqual([1]);
    expect(out(10_004)).toEqual([1]);
    expect(out(10_005)).toEqual([]);
  });

  it('are no row with a success among them', () => {
    const { ejection, at, fail, out } = scene();
    for (let i = 0; i < 10; i++) {
      fail(1, i, 2);
      ejection.succeeded(at(1));
    }
    expect(out(10)).toEqual([]);
  });

  it('keep it out twice as long each time, at most eight times; after as long without failures it starts over', () => {
    const { fail, out } = scene();
    let now = 0;
    const lengths = Array.from({ length: 6 }, () => {
      fail(0, now);
      const began = now;
      while (out(now).length > 0) now += 1_000;
      return (now - began) / 10_000;
    });
    expect(lengths).toEqual([1, 2, 4, 8, 8, 8]);
    now += 10_000;
    fail(0, now);
    expect(out(now + 9_999)).toEqual([0]);
    expect(out(now + 10_000)).toEqual([]);
  });

  it('of requests that were under way when it went out do not count', () => {
    const { ejection, at, fail, out } = scene();
    fail(0, 0, 50);
    expect(out(9_999)).toEqual([0]);
    expect(out(10_000)).toEqual([]);
    fail(0, 10_000, 2);
    expect(out(10_000)).toEqual([]);
    expect(ejection.ejections(at(0))).toBe(1);
  });
});

describe('a refused connection', () => {
  it('takes an instance out for a second at once, each time', () => {
    const { ejection, at, out } = scene();
    for (const now of [0, 1_000, 2_000, 3_000, 4_000]) {
      expect(out(now)).toEqual([]);
      ejection.failed(at(2), 'connect', now);
      expect(out(now + 999)).toEqual([2]);
    }
    expect(ejection.ejections(at(2))).toBe(5);
    expect(ejection.ejections(at(1))).toBe(0);
  });
});

describe('the floor', () => {
  it.each([
    [1, 50, 0],
    [2, 50, 1],
    [3, 50, 1],
    [4, 50, 2],
    [3, 0, 3],
    [3, 100, 0],
    [10, 70, 3],
  ])('of %i instances and %i per cent lets %i out', (count, floor, most) => {
    const { fail, out, members } = scene(count, { ...POLICY, floor });
    for (const index of members.keys()) fail(index, 0);
    expect(out(0)).toHaveLength(most);
  });

  it('brings back first the one that went out first, and for good', () => {
    const { fail, out } = scene();
    fail(0, 0);
    fail(1, 1);
    fail(2, 2);
    expect(out(2)).toEqual([1, 2]);
    fail(0, 3);
    expect(out(3)).toEqual([0, 2]);
    // 1 would have been out until 10,001
    expect(out(10_000)).toEqual([0, 2]);
  });

  it('lets the one that came back early start over as early', () => {
    const { fail, out } = scene();
    fail(0, 0);
    fail(1, 1);
    fail(2, 2);
    fail(0, 10_100);
    expect(out(20_099)).toEqual([0]);
    expect(out(20_100)).toEqual([]);
  });

  it('holds when a table leaves fewer, and those with no weight do not count', () => {
    const { ejection, at, fail, out, members } = scene();
    fail(0, 0);
    fail(1, 0);
    at(3).weight = 0;
    ejection.apply(POLICY, members);
    expect(out(1)).toEqual([1]);
    fail(3, 1);
    expect(out(1)).toEqual([1, 3]);
  });

  it('holds for verdicts too: where too many are unhealthy all are used', () => {
    const { ejection, at, out } = scene();
    ejection.verdict(at(0), false);
    ejection.verdict(at(1), false);
    expect(out(0)).toEqual([0, 1]);
    ejection.verdict(at(2), false);
    expect(out(0)).toEqual([]);
    ejection.failed(at(0), 'connect', 0);
    expect(out(0)).toEqual([0]);
    ejection.verdict(at(1), true);
    expect(out(0)).toEqual([0, 2]);
  });
});

describe('a verdict', () => {
  it('holds until the next one, and counts once', () => {
    const { ejection, at, fail, out } = scene();
    fail(0, 0);
    ejection.verdict(at(0), false);
    ejection.verdict(at(0), false);
    expect(out(1e9)).toEqual([0]);
    ejection.verdict(at(0), true);
    expect(out(1e9)).toEqual([]);
    expect(ejection.ejections(at(0))).toBe(1);
  });

  it('that an instance is well ends what requests had shown', () => {
    const { ejection, at, fail, out } = scene();
    fail(0, 0);
    ejection.verdict(at(0), false);
    ejection.verdict(at(0), true);
    expect(out(1)).toEqual([]);
  });

  it('leaves less room for what requests show', () => {
    const { ejection, at, fail, out } = scene();
    fail(0, 0);
    fail(1, 0);
    ejection.verdict(at(2), false);
    expect(out(1)).toEqual([1, 2]);
    ejection.verdict(at(3), false);
    expect(out(1)).toEqual([2, 3]);
    fail(0, 2);
    expect(out(2)).toEqual([2, 3]);
  });
});

it('what is known of an instance is forgotten when it leaves', () => {
  const { ejection, at, fail, out, members } = scene();
  fail(0, 0);
  ejection.apply(POLICY, members.slice(1));
  ejection.failed(at(0), 'connect', 1);
  expect(ejection.out(at(0), 1)).toBe(false);
  ejection.apply(POLICY, members);
  expect(out(2)).toEqual([]);
  expect(ejection.ejections(at(0))).toBe(0);
});

describe('whatever happens', () => {
  const instance = fc.nat({ max: 7 });
  const event = fc.record({
    instance,
    kind: fc.constantFrom('connect', 'answer', 'row', 'success', 'unhealthy', 'healthy', 'weight', 'leave'),
    weight: fc.constantFrom(0, 1, 100),
    later: fc.oneof(fc.constant(0), fc.nat({ max: 500 }), fc.nat({ max: 30_000 })),
  });
  const policy = fc.record({
    failures: fc.integer({ min: 1, max: 5 }),
    time: fc.integer({ min: 1, max: 20_000 }),
    floor: fc.integer({ min: 0, max: 100 }),
  });

  it('the floor stays in, and everyone comes back', () => {
    fc.assert(
      fc.property(policy, fc.array(event, { maxLength: 80 }), (rules, events) => {
        const { ejection, members, fail, at } = scene(8, rules);
        let present = [...members];
        let now = 0;
        const check = () => {
          const weighted = present.filter(({ weight }) => weight > 0);
          const inside = weighted.filter((member) => !ejection.out(member, now));
          expect(inside.length).toBeGreaterThanOrEqual(Math.ceil((weighted.length * rules.floor) / 100));
        };
        for (const { instance, kind, weight, later } of events) {
          now += later;
          check();
          const member = at(instance);
          if (kind === 'connect' || kind === 'answer') ejection.failed(member, kind, now);
          else if (kind === 'row') fail(instance, now);
          else if (kind === 'success') ejection.succeeded(member);
          else if (kind === 'unhealthy' || kind === 'healthy') ejection.verdict(member, kind === 'healthy');
          else {
            if (kind === 'weight') member.weight = weight;
            present = members.filter((each) => kind !== 'leave' || each !== member);
            ejection.apply(rules, present);
          }
          check();
        }
        for (const member of present) ejection.verdict(member, true);
        now += Math.max(1_000, 8 * rules.time);
        expect(present.filter((member) => ejection.out(member, now))).toEqual([]);
      }),
      { numRuns: 1_000 },
    );
  });

  it('asking does not change who is out', () => {
    fc.assert(
      fc.property(policy, fc.array(event, { maxLength: 60 }), (rules, events) => {
        const [asked, silent] = [scene(8, rules), scene(8, rules)];
        let now = 0;
        for (const { instance, kind, later } of events) {
          now += later;
          asked.out(now - later / 2);
          for (const { ejection, at } of [asked, silent]) {
            if (kind === 'connect' || kind === 'answer') ejection.failed(at(instance), kind, now);
            if (kind === 'success') ejection.succeeded(at(instance));
          }
        }
        expect(asked.out(now)).toEqual(silent.out(now));
      }),
    );
  });
});
