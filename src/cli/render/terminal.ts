import { createLogUpdate } from 'log-update';
import colors from 'picocolors';
import { type Action, instancesOf } from '../../domain/action.ts';
import type { JournalEntry } from '../../domain/journal.ts';
import type { ErrorReport } from '../../errors.ts';
import { doing } from './actions.ts';
import { failure, summary } from './outcome.ts';
import type { Renderer } from './renderer.ts';
import { describe, evidenceLines, evidenceTeller, howFar, oneLine, seconds } from './words.ts';

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/** For people at a terminal: what is done scrolls away above, what is under way moves below. */
export function terminalRenderer(out: NodeJS.WriteStream = process.stdout): Renderer {
  const live = createLogUpdate(out);
  const running = new Map<string, { action: Action; since: number }>();
  const newEvidence = evidenceTeller();
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
      const text = describe(entry);
      waiting = STILL.has(entry.event) ? (text ?? '') : '';
      if (text !== null && entry.event !== 'waiting') print(paint(entry, text));
      const evidence = newEvidence(entry);
      if (evidence)
        print(
          evidenceLines(evidence)
            .map((line) => `  ${line}`)
            .join('\n'),
        );
      if (entry.event === 'rollout-finished') stop();
    },
    progress: (what, progress) => {
      if (progress === null) return stop();
      timer ??= setInterval(draw, 100);
      waiting = howFar(what, progress);
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

/** After these a rollout stands still, and the last line says why. */
const STILL = new Set<JournalEntry['event']>(['waiting', 'gate-reached', 'gate-stuck', 'paused']);

function track(entry: JournalEntry, running: Map<string, { action: Action; since: number }>): void {
  if (entry.event === 'action-started')
    running.set(keyOf(entry.action), { action: entry.action, since: entry.at });
  if (entry.event === 'action-finished' || entry.event === 'action-failed')
    running.delete(keyOf(entry.action));
}

/** An instance has one action at a time. */
function keyOf(action: Action): string {
  return instancesOf(action).join(' ');
}

function paint(entry: JournalEntry, text: string): string {
  switch (entry.event) {
    case 'rollout-started':
      return colors.bold(text);
    case 'action-finished':
    case 'gate-passed':
      return `${colors.green('✔')} ${text}`;
    case 'action-failed':
      return `${colors.red('✖')} ${text}`;
    case 'hook-finished':
      return `${entry.error ? colors.red('✖') : colors.green('✔')} ${text}`;
    case 'measured':
      return entry.measured.outcome === 'failure' ? colors.red(text) : text;
    case 'gate-stuck':
    case 'paused':
    case 'template-broken':
    case 'rollback-started':
      return colors.yellow(text);
    default:
      return text;
  }
}
