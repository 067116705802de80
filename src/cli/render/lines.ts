import type { Renderer } from './renderer.ts';
import { describe, oneLine, summary } from './words.ts';

/** Plain lines, for logs and pipes: each with the time of day. */
export function linesRenderer(
  out: NodeJS.WritableStream = process.stdout,
  errors: NodeJS.WritableStream = process.stderr,
): Renderer {
  const write = (text: string, at = Date.now()) =>
    out.write(`${new Date(at).toISOString().slice(11, 23)} ${text}\n`);
  return {
    build: (line) => write(`build | ${line}`),
    entry: (entry) => {
      const text = describe(entry);
      if (text !== null) write(text, entry.at);
    },
    note: (text) => write(text),
    end: (result) => (result.exitCode === 0 ? out : errors).write(`${summary(result)}\n`),
    error: (error) => errors.write(`unideploy: ${oneLine(error)}\n`),
  };
}
