import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { auditTable } from '../../src/cli/render/audit.ts';
import { githubRenderer } from '../../src/cli/render/github.ts';
import { linesRenderer } from '../../src/cli/render/lines.ts';
import type { Renderer } from '../../src/cli/render/renderer.ts';
import { stepSummary } from '../../src/cli/render/step-summary.ts';
import type { Happening, JournalEntry } from '../../src/domain/journal.ts';
import { rounds } from '../support/fuzz/rounds.ts';
import { journalOf, RESULT, ROLLED_BACK, STARTED, TURNED, UNHEALTHY } from '../unit/cli/journal.ts';

const ACTION = { kind: 'swapVolume', instance: 'site-1-1', mode: 'overlap', hold: false } as const;
const HAPPENINGS: Happening[] = [
  STARTED,
  TURNED,
  ROLLED_BACK,
  { event: 'action-started', action: ACTION, revision: 2 },
  { event: 'action-finished', action: ACTION, ms: 3 },
  { event: 'action-failed', action: ACTION, ms: 3, error: UNHEALTHY },
  { event: 'waiting', reason: 'site-1-1 to leave' },
  { event: 'gate-reached', gate: 'bake', promotable: true, ms: null },
  { event: 'gate-stuck', gate: 'bake', reason: 'nobody came' },
  { event: 'gate-passed', gate: 'bake', by: 'ana', ms: 3 },
  { event: 'paused', by: 'ana' },
  { event: 'resumed', by: 'ana' },
  { event: 'ordered', how: 'abort', by: 'ana' },
];

/** What a person, a guest or a hook may have put there. */
const hostile = fc.oneof(
  fc.constantFrom(
    '\u001b[2J\u001b[1;1H',
    '\u009b31m',
    '\r\nroot# ',
    '\u202egnp.exe',
    '\0',
    '\u2028',
    '::error::x',
  ),
  fc.constantFrom('\u001b]0;title\u0007', '\u001bP1$r\u001b\\', '\ud800', 'x\ty', '\u0007\b\b'),
  fc.string({ unit: 'binary', maxLength: 30 }),
);
/** Words that the reader chooses by; all other texts are anybody's. */
const WORDS = new Set(['event', 'kind', 'how', 'verdict', 'mode', 'code']);

const entry = fc
  .tuple(fc.constantFrom(...HAPPENINGS), fc.array(hostile, { minLength: 1, maxLength: 3 }))
  .map(([happening, texts]) => replaced(happening, texts) as Happening);
/** Of a newer version: an event nobody knows here, and more said than is read. */
const unknown = fc
  .record({ event: fc.oneof(fc.constant('toString'), fc.string({ minLength: 1 })), more: fc.jsonValue() })
  .map((each) => each as unknown as Happening);
const newer = entry.map((each) => Object.assign({ more: { deep: [null] } }, each));
const journal = fc.array(fc.oneof(entry, unknown, newer), { minLength: 1, maxLength: 8 });

describe('a journal', () => {
  it.each<[string, (entries: JournalEntry[]) => string]>([
    ['lines', (entries) => shownBy((out) => linesRenderer(out, out), entries)],
    ['a job of GitHub', (entries) => shownBy((out) => githubRenderer(undefined, out), entries)],
    ['a summary of that job', (entries) => stepSummary(RESULT, entries)],
    ['an audit', auditTable],
  ])('of any names, consoles and newer versions is shown safely as %s', (_what, show) => {
    fc.assert(
      fc.property(journal, (happenings) => {
        const text = show(journalOf(...happenings));
        expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Cs}]/u);
      }),
      { numRuns: rounds(300) },
    );
  });
});

function shownBy(made: (out: NodeJS.WritableStream) => Renderer, entries: JournalEntry[]): string {
  const out = new PassThrough();
  const renderer = made(out);
  for (const each of entries) renderer.entry(each);
  renderer.end(RESULT);
  return (out.read() as Buffer | null)?.toString() ?? '';
}

/** Every text that is not one of the reader's words gets another one in front. */
function replaced(value: unknown, texts: string[], key = ''): unknown {
  if (typeof value === 'string')
    return WORDS.has(key) ? value : `${texts[value.length % texts.length]}${value}`;
  if (Array.isArray(value)) return value.map((each) => replaced(each, texts));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, replaced(each, texts, name)]));
}
