import { describe, expect, it } from 'vitest';
import type { Measured } from '../../../src/domain/analysis.ts';
import { conclude, due } from '../../../src/domain/conclusion.ts';
import { metric, outcomes, policy } from '../../support/metrics.ts';

type Outcome = Measured['outcome'];
const [S, F, I, E] = ['success', 'failure', 'inconclusive', 'error'] as const;

const one = metric({ name: 'one' });
const patient = metric({ name: 'one', failures: 1, errors: 1 });

describe('an analysis of three measurements', () => {
  it.each([
    ['goes on until there are three', one, [S, S], null],
    ['passes', one, [S, S, S], 'passed'],
    ['fails at the first failure', one, [F], 'failed'],
    ['is inconclusive where the last says nothing', one, [S, S, I], 'inconclusive'],
    ['never passes without data', one, [I, I, I], 'inconclusive'],
    ['passes where there was no data yet at first', one, [I, S, S], 'passed'],
    ['makes up for errors', one, [S, E, S], null],
    ['passes once it has', one, [S, E, S, E, S], 'passed'],
    ['puts up with as many errors in a row as it is told', one, [E, E, E], null],
    ['fails at one more', one, [S, E, E, E, E], 'failed'],
    ['counts errors from anew after a measurement', patient, [E, S, E, S, E], null],
    ['puts up with as many failures as it is told', patient, [F, S], null],
    ['passes with them', patient, [S, S, F], 'passed'],
    ['fails at one failure more', patient, [F, S, F], 'failed'],
    ['does not pass by what it puts up with', { ...patient, failures: 9 }, [F, F, F], 'inconclusive'],
  ] as const)('%s', (_, subject, made, outcome) => {
    expect(
      conclude(policy([subject]), outcomes('one', ...(made as readonly Outcome[])))?.outcome ?? null,
    ).toBe(outcome);
  });

  it('says why', () => {
    const reason = (...made: Outcome[]) => conclude(policy([one]), outcomes('one', ...made))?.reason;
    expect(reason(S, F)).toBe('one failure 2');
    expect(reason(E, E, E, E)).toBe('one error 4 (4 times in a row)');
    expect(reason(I, I, I)).toBe('one inconclusive 3');
  });
});

describe('several metrics', () => {
  const two = metric({ name: 'two' });
  const both = (a: Outcome[], b: Outcome[]) => [...outcomes('one', ...a), ...outcomes('two', ...b)];

  it('have to pass all', () => {
    expect(conclude(policy([one, two]), both([S, S, S], [S, S, S]))).toEqual({
      outcome: 'passed',
      reason: 'one success 3 | two success 3',
    });
    expect(conclude(policy([one, two]), both([S, S, S], [S, S, I]))).toEqual({
      outcome: 'inconclusive',
      reason: 'two inconclusive 3',
    });
  });

  it('fail with the first of them, without waiting for the others', () => {
    expect(conclude(policy([one, two]), both([I], [F]))).toEqual({
      outcome: 'failed',
      reason: 'two failure 1',
    });
  });

  it('are measured again only where they have to be', () => {
    expect(due(policy([one, two]), both([S, S, S], [S, E, S])).map(({ name }) => name)).toEqual(['two']);
  });
});

describe('a dry run', () => {
  const dry = metric({ name: 'two', dryRun: true });

  it('of a metric changes nothing', () => {
    const made = [...outcomes('one', S, S, S), ...outcomes('two', F, E, F)];
    expect(conclude(policy([one, dry]), made)).toEqual({ outcome: 'passed', reason: 'one success 3' });
  });

  it('of all is passed, says what would have been, and takes its time', () => {
    const dryPolicy = policy([one], { dryRun: true });
    expect(conclude(dryPolicy, outcomes('one', F))).toBeNull();
    expect(conclude(dryPolicy, outcomes('one', F, S, S))).toEqual({
      outcome: 'passed',
      reason: 'dry run, would have failed: one failure 1',
    });
    expect(conclude(dryPolicy, outcomes('one', S, E, S))).toEqual({
      outcome: 'passed',
      reason: 'dry run, would have been inconclusive: one was not measured often enough',
    });
  });
});
