import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { githubRenderer } from '../../../src/cli/render/github.ts';
import type { Result } from '../../../src/cli/render/renderer.ts';
import { journalOf, RESULT, ROLLED_BACK, STARTED, sink, TURNED, UNHEALTHY } from './journal.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unideploy-summary-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** What a step prints and the summary that it leaves, of a build and this journal. */
async function step(result: Result, ...happenings: Parameters<typeof journalOf>) {
  const { stream, text } = sink();
  const summary = join(folder, 'summary.md');
  const renderer = githubRenderer(summary, stream);
  renderer.build('compiling');
  for (const entry of journalOf(...happenings)) renderer.entry(entry);
  renderer.end(result);
  return { lines: text().trimEnd().split('\n'), summary: await readFile(summary, 'utf8') };
}

describe('a step of GitHub Actions', () => {
  it('groups the build and the evidence, in which nothing is taken for a command', async () => {
    const { lines } = await step(RESULT, STARTED, TURNED, ROLLED_BACK);
    const marks = lines.flatMap((line, n) => (line.startsWith('::group::') ? [n] : []));
    expect(marks.map((n) => lines[n])).toEqual(['::group::Build', '::group::Evidence of site-2-1']);
    for (const n of marks) {
      const [, token] = /^::stop-commands::([0-9a-f-]{36})$/.exec(lines[n + 1] ?? '') ?? [];
      const end = lines.indexOf(`::${token}::`);
      expect(end).toBeGreaterThan(n + 2);
      expect(lines[end + 1]).toBe('::endgroup::');
      expect(lines.slice(n + 2, end).some((line) => line.startsWith('::'))).toBe(false);
    }
    expect(lines).toContain('site-2-1 answered: 503 no volume');
    expect(lines).toContain('site-2-1 console | ::error::not <ours>');
  });

  it('annotates what went wrong: its code, its cause and the next step', async () => {
    const { lines } = await step(RESULT, STARTED, TURNED, ROLLED_BACK);
    const annotations = lines.filter((line) => /^::(error|warning) /.test(line));
    expect(annotations).toEqual([
      '::warning title=UD_GUEST_UNHEALTHY::going back to revision 1: UD_GUEST_UNHEALTHY: site-2-1 was not ready within 60 s. Next: read its console: unideploy logs site-2-1',
      '::error title=UD_GUEST_UNHEALTHY::rolled back, site serves revision 1 again after 61.5 s: site-2-1 was not ready within 60 s. Next: read its console: unideploy logs site-2-1',
    ]);
  });

  it('escapes what would end an annotation or begin another', async () => {
    const error = { ...UNHEALTHY, message: '100% lost\r\n::error::mine' };
    const { lines } = await step({ ...RESULT, result: 'refused', error });
    expect(lines.at(-1)).toBe(
      '::error title=UD_GUEST_UNHEALTHY::100%25 lost%0D%0A::error::mine. Next: read its console: unideploy logs site-2-1',
    );
  });

  it('leaves a summary with the revisions, the verdict, the reason and the evidence', async () => {
    const { summary } = await step(RESULT, STARTED, TURNED, ROLLED_BACK);
    for (const row of [
      '### unideploy: site',
      '| Result | ↩️ rolled-back (exit code 3) |',
      '| Rollout | 2 |',
      '| Revisions | 1 → 2 |',
      '| Strategy | canary |',
      '| By | ana@ci |',
      '| Serves | revision 1 |',
      '| Took | 61.5 s |',
      '<summary>Evidence of site-2-1</summary>',
      'site-2-1 console &#124; ::error::not &#60;ours&#62;',
    ])
      expect(summary.split('\n')).toContain(row);
    expect(summary).toContain('> UD&#95;GUEST&#95;UNHEALTHY: site-2-1 was not ready within 60 s. Next:');
    expect(summary.match(/<summary>Evidence/g)).toHaveLength(1);
  });

  it('says in few words that all is well', async () => {
    const { lines, summary } = await step(
      { ...RESULT, result: 'succeeded', exitCode: 0, revision: 2, error: null },
      STARTED,
    );
    expect(lines.at(-1)).toBe('done: site serves revision 2, after 61.5 s');
    expect(summary).toContain('| Result | ✅ succeeded (exit code 0) |');
  });
});
