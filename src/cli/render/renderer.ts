import type { JournalEntry } from '../../domain/journal.ts';
import type { Progress } from '../../domain/progress.ts';
import type { Verdict } from '../../domain/rollout.ts';
import type { ErrorReport } from '../../errors.ts';

/** How a command that moves a pool has ended: the last line of `--json`, and what the exit code says. docs/ci.md has it in full. */
export interface Result {
  /**
   * The verdict of a rollout that has ended; else `unchanged`: nothing was to be done; `paused`, `timed-out`, `interrupted`: the
   * rollout, if there is one, goes on without the command; `lost`: the controller went away; `refused`: none began.
   */
  result: Verdict | 'unchanged' | 'paused' | 'timed-out' | 'interrupted' | 'lost' | 'refused';
  exitCode: number;
  /** null: not known, for the config could not be read */
  service: string | null;
  rollout: number | null;
  /** the revision that was reached last, and serves unless `result` is `failed`; null: none, or not known */
  revision: number | null;
  /** milliseconds of the rollout, so far where it goes on */
  ms: number;
  /** why the command did not get what it was for; null: it did */
  error: ErrorReport | null;
}

/** Shows a rollout while it happens. */
export interface Renderer {
  /** a line of a build's output */
  build(line: string): void;
  entry(entry: JournalEntry): void;
  /** how far a long job is, `what` says which; null: it is over */
  progress(what: string, progress: Progress | null): void;
  /** a remark of the command itself */
  note(text: string): void;
  end(result: Result): void;
  error(error: ErrorReport): void;
}
