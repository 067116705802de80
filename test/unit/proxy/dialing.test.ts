import { expect, test } from 'vitest';
import { Dialing } from '../../../src/proxy/embedded/dialing.ts';
import type { InstanceConnection } from '../../../src/proxy/embedded/http1/instance-connection.ts';

const CONNECTION = {} as InstanceConnection;

test('connections are made one at a time, in the order in which they were asked for', () => {
  const { add, dialed, end } = scene();
  for (const name of ['a', 'b', 'c']) add(name);
  expect(dialed).toEqual(['a']);
  end('a', 'made');
  expect(dialed).toEqual(['a', 'b']);
  end('b', 'failed');
  expect(dialed).toEqual(['a', 'b', 'c']);
  end('c', 'made');
  add('d');
  expect(dialed).toEqual(['a', 'b', 'c', 'd']);
});

test('who gives up makes room: the next one is dialled, and one that waits is never dialled', () => {
  const { add, dialed, givenUp } = scene();
  const [first, second] = ['a', 'b', 'c'].map((name) => add(name));
  second?.();
  first?.();
  expect(dialed).toEqual(['a', 'c']);
  expect(givenUp).toEqual(['a']);
});

test('giving up twice, or after the connection was made, ends nobody else’s', () => {
  const { add, dialed, end, givenUp } = scene();
  const first = add('a');
  add('b');
  end('a', 'made');
  first();
  first();
  expect(dialed).toEqual(['a', 'b']);
  expect(givenUp).toEqual([]);
});

test('an idle connection goes to the first who takes one, who is not dialled any more then', () => {
  const { dialing, add, dialed, givenUp, got } = scene();
  add('new only');
  expect(dialing.wantsIdle).toBe(false);
  add('a', true);
  add('b', true);
  expect(dialing.wantsIdle).toBe(true);
  dialing.give(CONNECTION);
  expect([got, givenUp]).toEqual([['a'], []]);
  dialing.give(CONNECTION);
  expect(got).toEqual(['a', 'b']);
  expect(dialing.wantsIdle).toBe(false);
  expect(dialed).toEqual(['new only']);
});

test('who is being connected takes an idle connection too, and the new one is made all the same', () => {
  const { dialing, add, dialed, givenUp, got, end } = scene();
  add('a', true);
  add('b', true);
  dialing.give(CONNECTION);
  expect([got, givenUp, dialed]).toEqual([['a'], [], ['a']]);
  end('a', 'made');
  expect(dialed).toEqual(['a', 'b']);
});

test('who has got an idle connection and gives up ends nobody else’s', () => {
  const { dialing, add, dialed, givenUp } = scene();
  add('new only');
  const giveUp = add('a', true);
  dialing.give(CONNECTION);
  giveUp();
  expect([givenUp, dialed]).toEqual([[], ['new only']]);
});

function scene() {
  const dialing = new Dialing();
  const dialed: string[] = [];
  const givenUp: string[] = [];
  const got: string[] = [];
  const ends = new Map<string, { made: () => void; failed: () => void }>();
  const add = (name: string, takesIdle = false) =>
    dialing.add({
      open(made, failed) {
        dialed.push(name);
        ends.set(name, { made, failed });
        return () => givenUp.push(name);
      },
      ...(takesIdle && { takeIdle: () => got.push(name) }),
    });
  const end = (name: string, how: 'made' | 'failed') => ends.get(name)?.[how]();
  return { dialing, add, dialed, givenUp, got, end };
}
