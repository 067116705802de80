import { describe, expect, it } from 'vitest';
import { type Reading, UNREAD } from '../../../src/domain/health.ts';
import { diagnose, needsConsole, type Signs } from '../../../src/domain/supervision.ts';

const HEALTHY: Reading = {
  ...UNREAD,
  health: 'healthy',
  streak: 9,
  last: { healthy: true, summary: '200 ok', bodies: {} },
};

function bad(summary: string, streak = 3): Reading {
  const health = streak >= 3 ? 'unhealthy' : 'healthy';
  return { ...UNREAD, health, streak, last: { healthy: false, summary, bodies: {} } };
}

const WELL: Signs = {
  profile: 'linux',
  state: 'running',
  runState: 'running',
  vitals: { exit: null, events: [], memory: null },
  reading: HEALTHY,
  console: [],
  patterns: [],
  outlier: null,
  memory: null,
  silent: false,
  young: false,
};

const told = (exit: Signs['vitals']['exit'], ...events: string[]) => ({ exit, events, memory: null });

describe('what is wrong with an instance', () => {
  it.each<[string, Partial<Signs>, string, string]>([
    [
      'its process was killed',
      { state: 'stopped', runState: null, vitals: told({ code: null, signal: 'SIGKILL' }) },
      'dead',
      'has died: its process was ended by SIGKILL',
    ],
    [
      'its process ended by an error',
      { state: 'stopped', runState: null, vitals: told({ code: 1, signal: null }) },
      'dead',
      'has died: its process ended with exit code 1',
    ],
    ['nobody saw it end', { state: 'stopped', runState: null }, 'dead', 'has died: its process is gone'],
    [
      'it powered itself off',
      { state: 'stopped', vitals: told({ code: 0, signal: null }, 'SHUTDOWN guest-shutdown') },
      'stopped',
      'powered itself off',
    ],
    [
      'it reset itself, without pvpanic',
      { state: 'stopped', vitals: told({ code: 0, signal: null }, 'SHUTDOWN guest-reset') },
      'panicked',
      'reset itself, as after a panic',
    ],
    ['it panicked', { runState: 'guest-panicked' }, 'panicked', 'panicked'],
    [
      'it panicked for want of memory',
      {
        runState: 'guest-panicked',
        console: ['[   9.1] Kernel panic - not syncing: System is deadlocked on memory'],
      },
      'starved',
      'ran out of memory: "Kernel panic - not syncing: System is deadlocked on memory"',
    ],
    [
      'somebody has stopped it',
      { runState: 'paused' },
      'stopped',
      'was stopped by somebody through its monitor',
    ],
    ['a disk failed', { runState: 'io-error' }, 'stopped', 'stands still after an error of a disk'],
    [
      'it does not answer',
      { reading: bad('no answer within 500 ms') },
      'hung',
      'does not answer: no answer within 500 ms, 3 times in a row',
    ],
    [
      'its QEMU does not answer either',
      { reading: bad('no answer within 500 ms'), runState: null },
      'hung',
      'does not answer: no answer within 500 ms, 3 times in a row; its monitor is silent too',
    ],
    [
      'its kernel tells of no memory any more',
      { reading: bad('no answer within 500 ms'), silent: true },
      'hung',
      'does not answer: no answer within 500 ms, 3 times in a row; its kernel is silent too',
    ],
    [
      'it answers with errors',
      { reading: bad('503 unhealthy') },
      'erring',
      'answers with errors: 503 unhealthy, 3 times in a row',
    ],
    [
      'its answers are worse than the others',
      { outlier: 'answers with errors' },
      'erring',
      'answers with errors',
    ],
    ['its memory runs out', { memory: 'is losing much' }, 'starved', 'is losing much'],
    [
      'one bad answer, and a word of its own',
      { reading: bad('no answer within 500 ms', 1), patterns: ['my app fell'], console: ['x: my app fell'] },
      'panicked',
      'panicked: "x: my app fell"',
    ],
  ])('%s', (_what, signs, cause, sentence) => {
    expect(diagnose({ ...WELL, ...signs })).toEqual({ cause, sentence });
  });

  it.each<[string, Partial<Signs>]>([
    ['it is well', {}],
    ['its monitor is silent, and it answers', { runState: null }],
    ['one answer was bad', { reading: bad('no answer within 500 ms', 1) }],
    ['nobody has asked it yet', { reading: UNREAD }],
    ['it boots still', { reading: bad('connection refused'), young: true }],
    ['a client had it print a panic, and it answers', { console: ['GET /Kernel panic - not syncing: ha'] }],
  ])('nothing is, where %s', (_what, signs) => {
    expect(diagnose({ ...WELL, ...signs })).toBeNull();
  });

  it('is looked for on a console only where its last answer was bad, or it has panicked', () => {
    expect(needsConsole(WELL)).toBe(false);
    expect(needsConsole({ ...WELL, reading: bad('503', 1) })).toBe(true);
    expect(needsConsole({ ...WELL, runState: 'guest-panicked' })).toBe(true);
  });
});
