import { describe, expect, it } from 'vitest';
import { leftovers, type Owners, type Thing, Waiting } from '../../../src/engine/leftovers.ts';

const OWNERS: Owners = { services: new Set(['site']), routed: new Set(['old-1-1']) };

function machine(change: Partial<Extract<Thing, { kind: 'machine' }>> = {}): Thing {
  return {
    kind: 'machine',
    id: 'shop-3-1',
    service: 'shop',
    pids: [7],
    directory: true,
    frozen: false,
    ...change,
  };
}

const words = (thing: Thing) => leftovers([thing], OWNERS).map(({ why }) => why);

describe('left over is', () => {
  it.each([
    [machine(), 'instance shop-3-1 (process 7): there is no service shop'],
    [machine({ pids: [] }), 'run directory of shop-3-1: there is no service shop'],
    [machine({ service: null }), 'instance shop-3-1 (process 7): nothing tells whose it is'],
    [
      machine({ service: 'site', directory: false }),
      'instance shop-3-1 (process 7): its run directory is gone',
    ],
    [
      { kind: 'data-plane', pid: 9, recorded: false, what: 'an HAProxy' },
      'an HAProxy (process 9): it is not the one that serves',
    ],
    [
      { kind: 'file', path: '/s/a.new', what: 'unfinished file', isWriterAlive: false },
      'unfinished file /s/a.new: whoever made it is gone',
    ],
  ] as [Thing, string][])('%j', (thing, why) => {
    expect(words(thing)).toEqual([why]);
  });
});

describe('never left over is', () => {
  it.each([
    ['what a service has, whatever its rollouts make of it', machine({ service: 'site' })],
    ['what serves clients', machine({ id: 'old-1-1', service: 'old' })],
    ['what was frozen as evidence', machine({ frozen: true })],
    ['the data plane that serves', { kind: 'data-plane', pid: 9, recorded: true, what: 'a data plane' }],
    ['what is being written', { kind: 'file', path: '/s/a.7.new', what: 'file', isWriterAlive: true }],
  ] as [string, Thing][])('%s', (_name, thing) => {
    expect(words(thing)).toEqual([]);
  });
});

it('what is left over is removed only when it was at every look for as long as the grace', () => {
  const waiting = new Waiting();
  const found = leftovers([machine()], OWNERS);
  expect(waiting.ripe(found, 0, 1000)).toEqual([]);
  expect(waiting.ripe(found, 900, 1000)).toEqual([]);
  expect(waiting.ripe([], 950, 1000)).toEqual([]);
  expect(waiting.ripe(found, 1000, 1000)).toEqual([]);
  expect(waiting.ripe(found, 2000, 1000)).toEqual(found);
});
