import type { Renderer } from './renderer.ts';

/** NDJSON: an object a line, the result last. */
export function jsonRenderer(out: NodeJS.WritableStream = process.stdout): Renderer {
  const write = (value: unknown) => out.write(`${JSON.stringify(value)}\n`);
  return {
    build: (line) => write({ event: 'build', line }),
    entry: write,
    progress: (what, progress) => progress && write({ event: 'progress', what, ...progress }),
    note: (text) => write({ event: 'note', text }),
    end: write,
    error: (error) => write({ error }),
  };
}
