import type { ErrorReport } from '../../errors.ts';
import { failure, summary } from './outcome.ts';
import type { Renderer } from './renderer.ts';
import { describe, evidenceLines, evidenceTeller, oneLine } from './words.ts';

/** Plain lines, for logs and pipes: each with the time of day. */
export function linesRenderer(
  out: NodeJS.WritableStream = process.stdout,
  errors: NodeJS.WritableStream = process.stderr,
): Renderer {
  const newEvidence = evidenceTeller();
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
    note: (text) => write(text),
    end: (result) => {
      const failed = failure(result);
      if (failed) error(failed);
      else out.write(`${summary(result)}\n`);
    },
    error,
  };
}
