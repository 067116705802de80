import type { JournalEntry } from '../../domain/journal.ts';
import type { Verdict } from '../../domain/rollout.ts';
import type { ErrorReport } from '../../errors.ts';

/** How a command that moves a pool has ended: the last line of `--json`, and what the exit code says. */
export interface Result {
  result: Verdict | 'unchanged';
  exitCode: number;
  service: string;
  rollout: number | null;
  /** revision that serves now; null: none */
  revision: number | null;
  /** milliseconds of the rollout */
  ms: number;
  /** why it did not succeed */
  error: ErrorReport | null;
}

/** Shows a rollout while it happens. */
export interface Renderer {
  /** a line of a build's output */
  build(line: string): void;
  entry(entry: JournalEntry): void;
  /** a remark of the command itself */
  note(text: string): void;
  end(result: Result): void;
  error(error: ErrorReport): void;
}
