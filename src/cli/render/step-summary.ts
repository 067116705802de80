import type { JournalEntry } from '../../domain/journal.ts';
import { printable } from '../../printable.ts';
import type { Result } from './renderer.ts';
import { describe, evidenceLines, evidenceTeller, oneLine, seconds } from './words.ts';

/** What the command has come to, in GitHub's Markdown: a table, the reason, and what was found at instances that failed. */
export function stepSummary(result: Result, journal: JournalEntry[]): string {
  const { service, revision, rollout, ms, error } = result;
  const started = journal.find((entry) => entry.event === 'rollout-started');
  const rows: [string, string][] = [
    ['Result', `${MARKS[result.result] ?? '❌'} ${result.result} (exit code ${result.exitCode})`],
    ['Rollout', rollout === null ? 'none' : `${rollout}`],
    ...(started
      ? ([
          ['Revisions', `${started.from ?? 'nothing'} → ${started.to ?? 'nothing'}`],
          ['Instances', `${started.replicas}`],
          ['Strategy', started.strategy],
          ['By', started.performer],
        ] satisfies [string, string][])
      : []),
    ['Serves', revision === null ? 'nothing, or not known' : `revision ${revision}`],
    ['Took', seconds(ms)],
  ];
  const newEvidence = evidenceTeller();
  const found = journal.map(newEvidence).filter((evidence) => evidence !== null);
  return [
    `### unideploy: ${plain(service ?? 'no service')}`,
    '',
    '| | |',
    '|---|---|',
    ...rows.map(([name, value]) => `| ${name} | ${plain(value)} |`),
    '',
    ...(error ? [`> ${plain(oneLine(error))}`, ''] : []),
    ...found.flatMap((evidence) => details(`Evidence of ${evidence.instance}`, evidenceLines(evidence))),
    ...(journal.length > 0 ? details('Journal', lines(journal)) : []),
  ]
    .map((line) => `${line}\n`)
    .join('');
}

/** Of the results that are no failures. */
const MARKS: Partial<Record<Result['result'], string>> = {
  succeeded: '✅',
  unchanged: '✅',
  paused: '⏸️',
  aborted: '↩️',
  'rolled-back': '↩️',
};

/** The end of a long journal: a summary takes no more than a mebibyte. */
const MOST_LINES = 500;

function lines(journal: JournalEntry[]): string[] {
  return journal
    .flatMap((entry) => {
      const text = describe(entry);
      return text === null ? [] : [`${new Date(entry.at).toISOString().slice(11, 23)} ${text}`];
    })
    .slice(-MOST_LINES);
}

function details(title: string, content: string[]): string[] {
  return [
    '<details>',
    `<summary>${plain(title)}</summary>`,
    '',
    '<pre>',
    ...content.map((line) => plain(line) || ' '),
    '</pre>',
    '',
    '</details>',
    '',
  ];
}

/** So that neither Markdown nor HTML sees anything in it. */
function plain(text: string): string {
  return printable(text).replaceAll(/[&<>|`*_[\]\\~]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
