import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import type { JournalEntry } from '../../domain/journal.ts';
import type { ErrorReport } from '../../errors.ts';
import { printable } from '../../printable.ts';
import { linesRenderer } from './lines.ts';
import { failure } from './outcome.ts';
import type { Renderer } from './renderer.ts';
import { stepSummary } from './step-summary.ts';
import { describe, evidenceLines, evidenceTeller } from './words.ts';

/**
 * For a step of GitHub Actions: groups, annotations, and a summary of the job.
 * Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
 * @param summaryFile where the summary is appended; undefined: nowhere
 */
export function githubRenderer(
  summaryFile: string | undefined,
  out: NodeJS.WritableStream = process.stdout,
): Renderer {
  const write = (line: string) => out.write(`${line}\n`);
  const lines = linesRenderer(out, out);
  const newEvidence = evidenceTeller();
  const journal: JournalEntry[] = [];
  let closeGroup: (() => void) | null = null;

  const open = (title: string) => {
    closeGroup ??= group(write, title);
  };
  const close = () => {
    closeGroup?.();
    closeGroup = null;
  };
  const error = (report: ErrorReport) => {
    close();
    write(annotation('error', report.code, `${report.message}. Next: ${report.next}`));
  };

  return {
    build: (line) => {
      open('Build');
      lines.build(line);
    },
    entry: (entry) => {
      close();
      journal.push(entry);
      lines.entry(withoutEvidence(entry));
      const warning = warningOf(entry);
      if (warning !== null) write(warning);
      const evidence = newEvidence(entry);
      if (!evidence) return;
      open(`Evidence of ${evidence.instance}`);
      for (const line of evidenceLines(evidence)) write(line);
      close();
    },
    progress: (what, progress) => {
      close();
      lines.progress(what, progress);
    },
    note: (text) => {
      close();
      lines.note(text);
    },
    end: (result) => {
      const failed = failure(result);
      if (failed) error(failed);
      else {
        close();
        lines.end(result);
      }
      if (summaryFile) appendFileSync(summaryFile, stepSummary(result, journal));
    },
    error,
  };
}

/** Opens a group, in which nothing is taken for a command: what builds and guests print is not ours. Returns what closes it. */
function group(write: (line: string) => void, title: string): () => void {
  const token = randomUUID();
  write(`::group::${escapeText(title)}`);
  write(`::stop-commands::${token}`);
  return () => {
    write(`::${token}::`);
    write('::endgroup::');
  };
}

/** What somebody who looks at the run should see at once. */
function warningOf(entry: JournalEntry): string | null {
  const text = describe(entry) ?? '';
  switch (entry.event) {
    case 'action-failed':
    case 'template-broken':
      return annotation('warning', entry.error.code, text);
    case 'rollback-started':
      return annotation('warning', entry.reason.code, text);
    case 'gate-stuck':
    case 'paused':
      return annotation('warning', `rollout ${entry.rollout}`, text);
    default:
      return null;
  }
}

function withoutEvidence(entry: JournalEntry): JournalEntry {
  return 'evidence' in entry ? { ...entry, evidence: null } : entry;
}

function annotation(level: 'error' | 'warning', title: string, message: string): string {
  return `::${level} title=${escapeProperty(title)}::${escapeText(message)}`;
}

function escapeText(text: string): string {
  return printable(text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A'));
}

function escapeProperty(text: string): string {
  return escapeText(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
