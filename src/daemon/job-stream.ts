import { PassThrough } from 'node:stream';
import type { FastifyReply } from 'fastify';
import type { Progress } from '../domain/progress.ts';
import type { ErrorReport } from '../errors.ts';

/** A line of a job's answer; the last one is no progress. */
export type JobLine<R> = Progress | { result: R } | { error: ErrorReport };

/** Work that takes long. It ends soon after the signal, has removed what is half done then, and rejects. */
export type Work<R> = (report: (progress: Progress) => void, signal: AbortSignal) => Promise<R>;

interface Telling {
  /** what a client is told of an error */
  tell: (error: unknown) => ErrorReport;
  /** takes secrets out */
  veilAll: <T>(value: T) => T;
}

/** Jobs of one API. A client that goes away cancels its own; nothing else does, but the controller's end. */
export class JobStreams {
  readonly #telling: Telling;
  readonly #running = new Map<Promise<void>, AbortController>();

  constructor(telling: Telling) {
    this.#telling = telling;
  }

  /** Answers with JSON lines: how far the work is, and in the last one its result or its error. */
  answer<R>(reply: FastifyReply, work: Work<R>): FastifyReply {
    const cancelled = new AbortController();
    reply.raw.once('close', () => cancelled.abort());
    const lines = new PassThrough();
    lines.on('error', () => {});
    const running = this.#run(work, lines, cancelled.signal).finally(() => this.#running.delete(running));
    this.#running.set(running, cancelled);
    return reply.type('application/x-ndjson').send(lines);
  }

  /** Cancels all that are under way, and waits for their ends. */
  async close(): Promise<void> {
    for (const cancelled of this.#running.values()) cancelled.abort();
    await Promise.all(this.#running.keys());
  }

  async #run<R>(work: Work<R>, lines: PassThrough, signal: AbortSignal): Promise<void> {
    const { tell, veilAll } = this.#telling;
    const write = (line: JobLine<R>) => lines.write(`${JSON.stringify(veilAll(line))}\n`);
    // At once: a client waits a minute for an answer to begin.
    write({ done: 0, total: 0 });
    try {
      // A slow reader misses some of the progress, which the next one contains.
      const report = (progress: Progress) => void (lines.writableNeedDrain || write(progress));
      write({ result: await work(report, signal) });
    } catch (error) {
      write({ error: tell(error) });
    }
    lines.end();
  }
}
