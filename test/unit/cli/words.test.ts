import { describe, expect, it } from 'vitest';
import { linesRenderer } from '../../../src/cli/render/lines.ts';
import { describe as tell } from '../../../src/cli/render/words.ts';
import type { Measured } from '../../../src/domain/analysis.ts';
import type { Happening } from '../../../src/domain/journal.ts';
import { journalOf, RESULT, ROLLED_BACK, STARTED, sink, TURNED, UNHEALTHY } from './journal.ts';

const measured: Measured = {
  metric: 'error-rate',
  outcome: 'failure',
  value: 0.048,
  stable: 0.001,
  sample: 412,
  reason: 'error-rate 4.8% of 412 requests, stable 0.1%; at most 1%',
  dryRun: false,
};

describe('what happens in a rollout', () => {
  it.each<[string | null, Happening]>([
    ['rollout 2 of site: revision 1 → revision 2 on 4, canary, by ana@ci', STARTED],
    [null, { event: 'action-started', action: { kind: 'launch', instance: 'site-2-1' }, revision: 2 }],
    [
      'admitted site-2-1 at weight 10 (20 ms)',
      { event: 'action-finished', action: { kind: 'admit', instance: 'site-2-1', weight: 10 }, ms: 20 },
    ],
    [
      'admitted site-2-1 (20 ms)',
      { event: 'action-finished', action: { kind: 'admit', instance: 'site-2-1', weight: 100 }, ms: 20 },
    ],
    [
      'shifted site-2-1 to weight 40, 2 instances to weight 80 (3 ms)',
      {
        event: 'action-finished',
        action: { kind: 'shift', weights: { 'site-2-1': 40, 'site-1-1': 80, 'site-1-2': 80 } },
        ms: 3,
      },
    ],
    [
      'shifting site-2-1 to weight 0 failed after 1.5 s: no data plane',
      {
        event: 'action-failed',
        action: { kind: 'shift', weights: { 'site-2-1': 0 } },
        ms: 1500,
        error: { ...UNHEALTHY, message: 'no data plane' },
      },
    ],
    ['at gate bake for 30.0 s', { event: 'gate-reached', gate: 'bake', promotable: true, ms: 30_000 }],
    [
      'site-1-1 does not answer: no answer within 500 ms, 3 times in a row (hung: freeze); its memory is in /s/dumps/site-1-1.elf',
      {
        event: 'sick',
        instance: 'site-1-1',
        cause: 'hung',
        sentence: 'does not answer: no answer within 500 ms, 3 times in a row',
        treatment: 'freeze',
        machine: 'running',
        dump: '/s/dumps/site-1-1.elf',
        evidence: null,
      },
    ],
    ['site-1-1 is well again', { event: 'recovered', instance: 'site-1-1' }],
    [
      'repaired no more: repaired 5 times within 10 min, and sick again. Next: find out why (unideploy audit), then unideploy restart or unideploy rollback',
      { event: 'supervision-stopped', why: 'repaired 5 times within 10 min, and sick again' },
    ],
    ['at gate pre-cutover', { event: 'gate-reached', gate: 'pre-cutover', promotable: false, ms: 0 }],
    [
      'at gate 10 per cent, which somebody has to open: unideploy promote',
      { event: 'gate-reached', gate: '10 per cent', promotable: true, ms: null },
    ],
    [
      'gate bake does not open by itself: 3 requests, 100 are needed',
      { event: 'gate-stuck', gate: 'bake', reason: '3 requests, 100 are needed' },
    ],
    ['past gate bake (30.0 s)', { event: 'gate-passed', gate: 'bake', by: null, ms: 30_000 }],
    ['past gate bake, by bob (1.0 s)', { event: 'gate-passed', gate: 'bake', by: 'bob', ms: 1000 }],
    [
      'hook pre-cutover: ./warm-up (1.2 s)',
      { event: 'hook-finished', point: 'pre-cutover', hook: './warm-up', ms: 1200, error: null },
    ],
    [
      'hook pre-cutover: ./warm-up failed after 1.2 s: exit code 3: no such page',
      {
        event: 'hook-finished',
        point: 'pre-cutover',
        hook: './warm-up',
        ms: 1200,
        error: { ...UNHEALTHY, message: 'exit code 3:\n  no such page' },
      },
    ],
    ['failure: error-rate 4.8% of 412 requests, stable 0.1%; at most 1%', { event: 'measured', measured }],
    [
      'success, which changes nothing (dry run): p99 20 ms',
      { event: 'measured', measured: { ...measured, outcome: 'success', dryRun: true, reason: 'p99 20 ms' } },
    ],
    ['paused by bob', { event: 'paused', by: 'bob' }],
    ['resumed by bob', { event: 'resumed', by: 'bob' }],
    ['aborted by bob', { event: 'ordered', how: 'abort', by: 'bob' }],
    ['superseded by bob', { event: 'ordered', how: 'supersede', by: 'bob' }],
    ['promoted by bob', { event: 'ordered', how: 'promote', by: 'bob' }],
    ['promoted past every gate by bob', { event: 'ordered', how: 'promote-full', by: 'bob' }],
  ])('is told as: %s', (words, happening) => {
    const [entry] = journalOf(happening);
    expect(entry && tell(entry)).toBe(words);
  });
});

describe('a rollout that failed', () => {
  it('is told with the instance, its last answers and the end of its console, once', () => {
    const { stream, text } = sink();
    const errors = sink();
    const renderer = linesRenderer(stream, errors.stream);
    for (const entry of journalOf(STARTED, TURNED, ROLLED_BACK)) renderer.entry(entry);
    renderer.end(RESULT);
    expect(text()).toBe(`18:00:00.000 rollout 2 of site: revision 1 → revision 2 on 4, canary, by ana@ci
18:00:01.000 going back to revision 1: UD_GUEST_UNHEALTHY: site-2-1 was not ready within 60 s. Next: read its console: unideploy logs site-2-1
  site-2-1 answered: no answer within 500 ms
  site-2-1 answered: 503 no volume
  site-2-1 console | mounting /dev/sda
  site-2-1 console | ::error::not <ours>
`);
    expect(errors.text()).toBe(
      'unideploy: UD_GUEST_UNHEALTHY: rolled back, site serves revision 1 again after 61.5 s: site-2-1 was not ready within 60 s. Next: read its console: unideploy logs site-2-1\n',
    );
  });

  it('on its way back, too, is told with what was found there', () => {
    const { stream, text } = sink();
    const renderer = linesRenderer(stream);
    const evidence = { instance: 'site-1-2', lastAnswer: '500', answers: [], console: [] };
    const failed = { ...ROLLED_BACK, verdict: 'failed' as const, evidence };
    for (const entry of journalOf(STARTED, TURNED, failed)) renderer.entry(entry);
    expect(text()).toContain('  site-1-2 answered: 500\n');
  });
});
