import { createLogUpdate } from 'log-update';
import colors from 'picocolors';
import type { Action } from '../../domain/action.ts';
import type { JournalEntry } from '../../domain/journal.ts';
import type { ErrorReport } from '../../errors.ts';
import type { Renderer } from './renderer.ts';
import { describe, doing, failure, oneLine, seconds, summary } from './words.ts';

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/** For people at a terminal: what is done scrolls away above, what is under way moves below. */
export function terminalRenderer(out: NodeJS.WriteStream = process.stdout): Renderer {
  const live = createLogUpdate(out);
  const running = new Map<string, { action: Action; since: number }>();
  let waiting = '';
  let frame = 0;
  let timer: NodeJS.Timeout | null = null;

  const draw = () => {
    const spinner = colors.cyan(FRAMES[frame++ % FRAMES.length] ?? '');
    const actions = [...running.values()].map(
      ({ action, since }) => `${spinner} ${doing(action)} ${colors.dim(seconds(Date.now() - since))}`,
    );
    live((actions.length > 0 ? actions : waiting ? [`${spinner} ${waiting}`] : []).join('\n'));
  };
  const print = (text: string) => {
    live.clear();
    out.write(`${text}\n`);
    if (timer) draw();
  };
  const stop = () => {
    if (timer) clearInterval(timer);
    timer = null;
    live.clear();
  };

  const error = (report: ErrorReport) => {
    stop();
    process.stderr.write(`${colors.red('unideploy:')} ${oneLine(report)}\n`);
  };

  return {
    build: (line) => print(colors.dim(`  ${line}`)),
    entry: (entry) => {
      timer ??= setInterval(draw, 100);
      track(entry, running);
      waiting = entry.event === 'waiting' ? `waiting for ${entry.reason}` : '';
      const text = describe(entry);
      if (text !== null && entry.event !== 'waiting') print(paint(entry, text));
      if (entry.event === 'rollout-finished') stop();
    },
    note: print,
    end: (result) => {
      stop();
      const failed = failure(result);
      if (failed) error(failed);
      else out.write(`${colors.green(summary(result))}\n`);
    },
    error,
  };
}

function track(entry: JournalEntry, running: Map<string, { action: Action; since: number }>): void {
  if (entry.event === 'action-started')
    running.set(entry.action.instance, { action: entry.action, since: entry.at });
  if (entry.event === 'action-finished' || entry.event === 'action-failed')
    running.delete(entry.action.instance);
}

function paint(entry: JournalEntry, text: string): string {
  if (entry.event === 'action-finished') return `${colors.green('✔')} ${text}`;
  if (entry.event === 'action-failed') return `${colors.red('✖')} ${text}`;
  if (entry.event === 'rollback-started') return colors.yellow(text);
  return entry.event === 'rollout-started' ? colors.bold(text) : text;
}
