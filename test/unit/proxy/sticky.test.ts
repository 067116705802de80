import { describe, expect, it } from 'vitest';
import { Balancer } from '../../../src/proxy/embedded/balance/balancer.ts';
import {
  parseSticky,
  Sticky,
  stickyHeader,
  stickyValue,
  withoutSticky,
} from '../../../src/proxy/embedded/balance/sticky.ts';

const NAME = 'ud_shop';

describe('the cookie', () => {
  it('names revision and instance, and hides what the instance is called', () => {
    const value = stickyValue({ revision: 7, name: '10.0.0.3:8080' });
    expect(value).toMatch(/^7\.[0-9a-f]{16}$/);
    expect(stickyValue({ revision: 7, name: '10.0.0.3:8080' })).toBe(value);
    expect(stickyValue({ revision: 7, name: '10.0.0.4:8080' })).not.toBe(value);
    expect(parseSticky(`${NAME}=${value}`, NAME)).toEqual({ value, revision: 7 });
  });

  it('is out of the reach of scripts, and of plain connections where the client came over TLS', () => {
    expect(stickyHeader(NAME, '1.a', false)).toBe('ud_shop=1.a; Path=/; HttpOnly; SameSite=Lax');
    expect(stickyHeader(NAME, '1.a', true)).toBe('ud_shop=1.a; Path=/; HttpOnly; SameSite=Lax; Secure');
  });

  const [one, two] = ['0.0123456789abcdef', '12.fedcba9876543210'];

  it.each([
    ['alone', `${NAME}=${one}`, one],
    ['among others', `a=1; ${NAME}=${two}; b=2`, two],
    ['without spaces, or with more', `a=1;${NAME} =\t${one} ;b`, one],
    ['twice: the first wins', `${NAME}=${two}; ${NAME}=${one}`, two],
    ['beside names that end or begin like it', `x${NAME}=${one}; ${NAME}x=${one}; ${NAME}=${two}`, two],
  ])('is read: %s', (_, header, value) => {
    expect(parseSticky(header, NAME)?.value).toBe(value);
  });

  it.each([
    undefined,
    '',
    ';;;=',
    'a=1',
    `a=${NAME}=${one}`,
    `x${NAME}=${one}`,
    NAME,
    `${NAME}=`,
    `${NAME}=garbage; ${NAME}=${one}`,
    `${NAME}="${one}"`,
    `${NAME}=.0123456789abcdef`,
    `${NAME}=01.0123456789abcdef`,
    `${NAME}=-1.0123456789abcdef`,
    `${NAME}=1e3.0123456789abcdef`,
    `${NAME}=9999999999999999.0123456789abcdef`,
    `${NAME}=1.0123456789abcdeg`,
    `${NAME}=1.0123456789abcdef0`,
  ])('is not read from %j', (header) => {
    expect(parseSticky(header, NAME)).toBeUndefined();
  });

  it('costs little however hostile the header is', () => {
    const began = performance.now();
    for (const piece of ['=', ';', ' ', `${NAME} `, `${NAME}=1`]) {
      const header = piece.repeat(100_000);
      parseSticky(header, NAME);
      withoutSticky(header, NAME);
    }
    expect(performance.now() - began).toBeLessThan(2_000);
  });

  it.each([
    [`${NAME}=${one}`, undefined],
    [` ${NAME}=${one}; ${NAME}=garbage ;`, undefined],
    [`a=1; ${NAME}=${one}; b="2; c`, 'a=1; b="2; c'],
    [`${NAME}=${one}; a=1`, 'a=1'],
    [`a=1;  b=${NAME}=2; x${NAME}=3; ${NAME}`, `a=1;  b=${NAME}=2; x${NAME}=3; ${NAME}`],
  ])('does not reach the instance: %j', (header, rest) => {
    expect(withoutSticky(header, NAME)).toBe(rest);
  });
});

class Member {
  readonly name: string;
  readonly revision: number;
  weight: number;
  readonly inFlight = { size: 0 };
  usable = true;

  constructor(name: string, revision: number, weight: number) {
    this.name = name;
    this.revision = revision;
    this.weight = weight;
  }
}

const usable = (member: Member) => member.usable;

function scene() {
  const [a, b, c, next] = [
    new Member('a', 1, 100),
    new Member('b', 1, 100),
    new Member('c', 1, 0),
    new Member('next', 2, 1),
  ];
  const all = [a, b, c, next];
  const table = () => new Sticky(all, new Balancer(all, { balance: 'least-in-flight' }));
  const cookieOf = (member: Member) => ({ value: stickyValue(member), revision: member.revision });
  return { a, b, c, next, all, table, cookieOf };
}

describe('a client', () => {
  it('stays with its instance whatever the weights become', () => {
    const { a, b, next, table, cookieOf } = scene();
    for (const [stable, canary] of [
      [100, 1],
      [50, 50],
      [1, 99],
    ] as const) {
      a.weight = stable;
      b.weight = stable;
      next.weight = canary;
      const sticky = table();
      for (const member of [a, b, next]) {
        expect(sticky.choose(cookieOf(member), usable, [])).toBe(member);
        expect(sticky.valueOf(member)).toBe(stickyValue(member));
      }
    }
  });

  it('goes to another of the same revision when its instance takes nothing', () => {
    const { a, b, all, table, cookieOf } = scene();
    const cookie = cookieOf(a);
    expect(table().choose(cookie, usable, [a])).toBe(b);
    a.usable = false;
    expect(table().choose(cookie, usable, [])).toBe(b);
    a.usable = true;
    a.weight = 0;
    expect(table().choose(cookie, usable, [])).toBe(b);
    all.shift();
    expect(table().choose(cookie, usable, [])).toBe(b);
  });

  it('is a new one where its revision takes nothing', () => {
    const { a, b, table, cookieOf } = scene();
    a.weight = 0;
    b.usable = false;
    expect(table().choose(cookieOf(a), usable, [])).toBeUndefined();
    expect(table().choose(cookieOf(new Member('old', 9, 1)), usable, [])).toBeUndefined();
  });

  it('of a revision does not stay with another revision of the same name', () => {
    const { b, all, table, cookieOf } = scene();
    const cookie = cookieOf(all.shift() as Member);
    all.push(new Member('a', 2, 100));
    expect(table().choose(cookie, usable, [])).toBe(b);
  });
});
