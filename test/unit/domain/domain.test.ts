import { describe, expect, it } from 'vitest';
import { choose } from '../../../src/domain/choice.ts';
import { type Answers, proven, read, UNREAD } from '../../../src/domain/health.ts';
import { bounds } from '../../../src/domain/policy.ts';
import { difference, imageId, proofs } from '../../../src/domain/revision.ts';
import { DISK, HEALTH, POLICY, revision } from '../../support/revisions.ts';

describe('health', () => {
  const answer = (healthy: boolean): Answers => ({ healthy, summary: '', bodies: {} });
  const healthAfter = (...answers: boolean[]) =>
    answers.reduce(
      (reading, healthy, n) => read(reading, answer(healthy), { ...HEALTH, healthy: 2 }, n),
      UNREAD,
    ).health;

  it('turns only after its threshold of answers in a row', () => {
    expect(healthAfter(true)).toBe('unknown');
    expect(healthAfter(true, true)).toBe('healthy');
    expect(healthAfter(true, true, false, false)).toBe('healthy');
    expect(healthAfter(true, true, false, false, false)).toBe('unhealthy');
    expect(healthAfter(true, true, false, false, true, false)).toBe('healthy');
  });

  it('proves a revision by every expected answer, white space aside', () => {
    const expected = [
      { path: '/a', expect: 'tree-1' },
      { path: '/b', expect: 'tree-2' },
    ];
    expect(proven(expected, { '/a': 'tree-1\n', '/b': 'tree-2' })).toBe(true);
    expect(proven(expected, { '/a': 'tree-1' })).toBe(false);
    expect(proven(expected, {})).toBe(false);
  });

  it('keeps its proof over a bad answer, until a good one says something else', () => {
    const good = (revision: string): Answers => ({ healthy: true, summary: '', bodies: { '/r': revision } });
    const bodiesAfter = (...answers: Answers[]) =>
      answers.reduce((reading, one, n) => read(reading, one, HEALTH, n), UNREAD).bodies;
    expect(bodiesAfter(good('tree-1'), answer(false))).toEqual({ '/r': 'tree-1' });
    expect(bodiesAfter(good('tree-1'), answer(false), good('tree-2'))).toEqual({ '/r': 'tree-2' });
  });
});

describe('the bounds of a rolling rollout', () => {
  it('round the surge up and the unavailable down', () => {
    expect(bounds({ ...POLICY, maxSurge: '30%', maxUnavailable: '30%' }, 4)).toEqual({
      surge: 2,
      unavailable: 1,
    });
  });

  it('always let something move', () => {
    expect(bounds({ ...POLICY, maxSurge: 0, maxUnavailable: '10%' }, 4)).toEqual({
      surge: 1,
      unavailable: 0,
    });
  });
});

describe('two revisions', () => {
  it('differ by nothing, by volumes, or by what needs new instances', () => {
    expect(difference(revision(1), revision(2))).toBe('none');
    expect(difference(revision(1), revision(2, { code: 'y' }))).toBe('volumes');
    expect(difference(revision(1), revision(2, { image: 'b', code: 'y' }))).toBe('image');
    const renamed = revision(2);
    expect(difference(revision(1), { ...renamed, volumes: [] })).toBe('image');
    expect(difference(revision(1), { ...renamed, machine: { ...renamed.machine, memory: 256 } })).toBe(
      'image',
    );
  });

  it('are proven by what their volumes carry, by their image where they have none, or not at all', () => {
    const one = revision(1);
    expect(proofs(one)).toEqual([{ path: '/r', expect: 'tree-x' }]);
    expect(proofs({ ...one, volumes: [] })).toEqual([{ path: '/r', expect: imageId(one.image) }]);
    expect(proofs({ ...one, checks: { ...one.checks, revisionPath: null } })).toEqual([]);
  });
});

describe('a revision with data volumes', () => {
  const plain = revision(1, { data: [DISK] });

  it('differs by another disk, and not by a larger one or by how its states are kept', () => {
    expect(difference(plain, { ...plain, data: [{ ...DISK, size: DISK.size * 2, keep: 9 }] })).toBe('none');
    expect(difference(plain, { ...plain, data: [{ ...DISK, name: 'other' }] })).toBe('image');
    expect(difference(plain, { ...plain, data: undefined })).toBe('image');
  });

  it('hands its disk over, whatever moves it', () => {
    const image = revision(2, { image: 'b', data: [DISK] });
    const code = revision(2, { code: 'y', data: [DISK] });
    expect(choose('auto', 'rollout', null, plain)).toBe('recreate');
    expect(choose('auto', 'rollout', plain, image)).toBe('recreate');
    expect(choose('auto', 'rollout', plain, code)).toBe('volume-swap');
    expect(choose('recreate', 'rollout', plain, code)).toBe('recreate');
    expect(choose('auto', 'restart', plain, plain)).toBe('recreate');
    expect(choose('rolling', 'rollback', code, plain)).toBe('volume-swap');
    expect(() => choose('canary', 'rollout', plain, image)).toThrow(/one instance's at a time/);
  });
});
