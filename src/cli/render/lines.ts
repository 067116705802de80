import type { ErrorReport } from '../../errors.ts';
import type { Renderer } from './renderer.ts';
import { describe, failure, oneLine, summary } from './words.ts';

/** Plain lines, for logs and pipes: each with the time of day. */
export function linesRenderer(
  out: NodeJS.WritableStream = process.stdout,
  errors: NodeJS.WritableStream = process.stderr,
): Renderer {
  const write = (text: string, at = Date.now()) =>
    out.write(`${new Date(at).toISOString().slice(11, 23)} ${text}\n`);
  const error = (report: ErrorReport) => errors.write(`unideploy: ${oneLine(report)}\n`);
  return {
    build: (line) => write(`build | ${line}`),
    entry: (entry) => {
      const text = describe(entry);
      if (text !== null) write(text, entry.at);
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
