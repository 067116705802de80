import type { ErrorReport } from '../../errors.ts';
import { failure, summary } from './outcome.ts';
import type { Renderer } from './renderer.ts';
import { describe, evidenceLines, evidenceTeller, howFar, oneLine } from './words.ts';

/** Milliseconds between two lines that say how far a job is. */
const PROGRESS_EVERY = 2_000;

/** Plain lines, for logs and pipes: each with the time of day. */
export function linesRenderer(
  out: NodeJS.WritableStream = process.stdout,
  errors: NodeJS.WritableStream = process.stderr,
): Renderer {
  const newEvidence = evidenceTeller();
  let told = Number.NEGATIVE_INFINITY;
  const write = (text: string, at = Date.now()) =>
    out.write(`${new Date(at).toISOString().slice(11, 23)} ${text}\n`);
  const error = (report: ErrorReport) => errors.write(`unideploy: ${oneLine(report)}\n`);
  return {
    build: (line) => write(`build | ${line}`),
    entry: (entry) => {
      const text = describe(entry);
      if (text !== null) write(text, entry.at);
      const evidence = newEvidence(entry);
      if (evidence) for (const line of evidenceLines(evidence)) out.write(`  ${line}\n`);
    },
    progress: (what, progress) => {
      if (progress === null || progress.total === 0 || performance.now() - told < PROGRESS_EVERY) return;
      told = performance.now();
      write(howFar(what, progress));
    },
    note: (text) => write(text),
    end: (result) => {
      const failed = failure(result);
      if (failed) error(failed);
      else out.write(`${summary(result)}\n`);
    },
    error,
  };
}
