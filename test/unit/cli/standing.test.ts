import { describe, expect, it } from 'vitest';
import { standsAt } from '../../../src/cli/render/standing.ts';
import type { Happening } from '../../../src/domain/journal.ts';
import { needsPerson, standing } from '../../../src/domain/standing.ts';
import { journalOf, STARTED, TURNED } from './journal.ts';

const bake: Happening = { event: 'gate-reached', gate: 'bake', promotable: true, ms: 30_000 };
const manual: Happening = { event: 'gate-reached', gate: 'promotion', promotable: true, ms: null };
const stuck: Happening = { event: 'gate-stuck', gate: 'bake', reason: 'too few requests' };
const passed: Happening = { event: 'gate-passed', gate: 'bake', by: null, ms: 1 };
const paused: Happening = { event: 'paused', by: 'bob' };

describe('what keeps a rollout from going on', () => {
  it.each<[string, boolean, Happening[]]>([
    ['', false, [STARTED]],
    ['waiting at gate bake, opens by itself in 20.0 s', false, [bake]],
    ['waiting at gate promotion for unideploy promote', true, [bake, passed, manual]],
    ['waiting at gate bake for a person: too few requests', true, [bake, stuck]],
    ['', false, [bake, stuck, passed]],
    ['paused by bob', true, [bake, paused]],
    [
      'waiting at gate promotion for unideploy promote',
      true,
      [manual, paused, { event: 'resumed', by: 'ana' }],
    ],
    ['', false, [manual, TURNED]],
    ['', false, [manual, { event: 'ordered', how: 'abort', by: 'ana' }]],
    [
      'waiting at gate promotion for unideploy promote',
      true,
      [manual, { event: 'ordered', how: 'promote', by: 'ana' }],
    ],
  ])('%s (needs a person: %s)', (words, person, happenings) => {
    const journal = journalOf(...happenings);
    const found = standing(journal);
    expect(standsAt(found, (journal[0]?.at ?? 0) + 10_000)).toBe(words);
    expect(needsPerson(found)).toBe(person);
  });

  it('is known from any place in the journal on', () => {
    const journal = journalOf(STARTED, bake, paused, passed, manual);
    for (let n = 0; n <= journal.length; n++)
      expect(standing(journal.slice(n), standing(journal.slice(0, n)))).toEqual(standing(journal));
  });
});
