import type { Measured } from '../../domain/analysis.ts';
import type { Evidence, JournalEntry } from '../../domain/journal.ts';
import type { Progress } from '../../domain/progress.ts';
import type { RolloutKind } from '../../domain/rollout.ts';
import type { ErrorReport } from '../../errors.ts';
import { printable } from '../../printable.ts';
import { did, doing } from './actions.ts';

/**
 * What happened, in one line that is safe to show, whatever names and guests have put into it; null for what needs none of
 * its own, and for what a newer controller tells that is not known here.
 */
export function describe(entry: JournalEntry): string | null {
  const text = tell(entry) ?? null;
  return text === null ? null : printable(text);
}

function tell(entry: JournalEntry): string | null {
  switch (entry.event) {
    case 'rollout-started': {
      const from = entry.from === null ? 'nothing' : `revision ${entry.from}`;
      const to = entry.to === null ? 'nothing' : `revision ${entry.to} on ${entry.replicas}`;
      const what = named(entry.rollout, entry.kind, entry.service);
      return `${what}: ${from} → ${to}, ${entry.strategy}, by ${entry.performer}`;
    }
    case 'rollout-resumed':
      return `taken over by controller ${entry.controller}`;
    case 'state-rebuilt':
      return `the state was lost, and made anew from what runs: ${entry.told.join('; ')}`;
    case 'action-started':
      return null;
    case 'action-finished':
      return `${did(entry.action, null)} (${seconds(entry.ms)})`;
    case 'action-failed':
      return `${doing(entry.action)} failed after ${seconds(entry.ms)}: ${entry.error.message}`;
    case 'data-unwritten':
      return `${entry.instance} did not power down in time and was ended: what it had not written to ${entry.volumes.join(', ')} is lost`;
    case 'data-kept': {
      const how =
        typeof entry.still === 'string' ? `, though its guest did not hold still: ${entry.still}` : '';
      return `kept the state of data volume ${entry.volume} as ${entry.snapshot}${how}${byWhom(entry)}`;
    }
    case 'data-reverted':
      return `data volume ${entry.volume} is again what it was at ${entry.snapshot}; what it was until now is kept as ${entry.aside}${byWhom(entry)}`;
    case 'data-copied': {
      const how = entry.of === null ? 'whole' : `of ${entry.of} and what has changed`;
      return `copied ${entry.volume} as ${entry.copy}, ${how}, by ${entry.by}`;
    }
    case 'copy-removed':
      return `removed copy ${entry.copy} of ${entry.volume}, by ${entry.by}`;
    case 'data-restored':
      return `${entry.volume} is again what it was in copy ${entry.copy}, by ${entry.by}`;
    case 'data-grown':
      return `data volume ${entry.volume} has grown from ${size(entry.from)} to ${size(entry.to)}${byWhom(entry)}`;
    case 'data-forgotten':
      return `the state ${entry.snapshot} of data volume ${entry.volume} is kept no more${byWhom(entry)}`;
    case 'data-removed':
      return `data volume ${entry.volume} was removed, with all that was kept of it${byWhom(entry)}`;
    case 'template-made':
      return `made a template of revision ${entry.revision} for others to be copies of (${seconds(entry.ms)})`;
    case 'copied':
      return `${entry.instance} is a copy of template ${entry.template.slice(0, 12)}, woken and verified (${seconds(entry.ms)})`;
    case 'template-broken':
      return `warning: ${entry.instance} boots without a template: ${entry.error.message}`;
    case 'waiting':
      return `waiting for ${entry.reason}`;
    case 'gate-reached':
      return `at gate ${entry.gate}${opening(entry)}`;
    case 'gate-stuck':
      return `gate ${entry.gate} does not open by itself: ${entry.reason}`;
    case 'gate-passed':
      return `past gate ${entry.gate}${entry.by === null ? '' : `, by ${entry.by}`} (${seconds(entry.ms)})`;
    case 'hook-finished': {
      const what = `hook ${entry.point}: ${entry.hook}`;
      const took = seconds(entry.ms);
      return entry.error ? `${what} failed after ${took}: ${entry.error.message}` : `${what} (${took})`;
    }
    case 'measured':
      return measurement(entry.measured);
    case 'paused':
      return `paused by ${entry.by}`;
    case 'resumed':
      return `resumed by ${entry.by}`;
    case 'ordered':
      return `${ORDERS[entry.how]} by ${entry.by}`;
    case 'sick': {
      const dump = entry.dump === null ? '' : `; its memory is in ${entry.dump}`;
      return `${entry.instance} ${entry.sentence} (${entry.cause}: ${entry.treatment})${dump}`;
    }
    case 'recovered':
      return `${entry.instance} is well again`;
    case 'supervision-stopped':
      return repairedNoMore(entry.why);
    case 'rollback-started': {
      const to = entry.to === null ? 'to nothing, for nothing ran before' : `to revision ${entry.to}`;
      return `going back ${to}: ${oneLine(entry.reason)}`;
    }
    case 'rollout-finished':
      return entry.verified || entry.verdict !== 'succeeded'
        ? null
        : 'unverified: the application cannot tell its revision';
  }
}

function byWhom({ by }: { by: string | null }): string {
  return by === null ? '' : `, by ${by}`;
}

/** What the supervisor has given up, and how it goes on. */
export function repairedNoMore(why: string): string {
  return `repaired no more: ${why}. Next: find out why (unideploy audit), then unideploy restart or unideploy rollback`;
}

const ORDERS = {
  abort: 'aborted',
  supersede: 'superseded',
  promote: 'promoted',
  'promote-full': 'promoted past every gate',
} as const;

function opening({ promotable, ms }: Extract<JournalEntry, { event: 'gate-reached' }>): string {
  if (ms === null) return promotable ? ', which somebody has to open: unideploy promote' : '';
  return ms > 0 ? ` for ${seconds(ms)}` : '';
}

/** `failure: error-rate 4.8% of 412 requests, stable 0.1%; at most 1%`: the reason has the figures as people read them. */
function measurement({ outcome, reason, dryRun }: Measured): string {
  return `${outcome}${dryRun ? ', which changes nothing (dry run)' : ''}: ${reason}`;
}

/** Every change is a rollout with its number: `scale 3` must not read as three replicas. */
export function named(id: number, kind: RolloutKind, service: string): string {
  return `rollout ${id} of ${service}${kind === 'rollout' ? '' : ` (${kind})`}`;
}

/** Lines on what was found at an instance that failed. */
export function evidenceLines({ instance, lastAnswer, answers, console }: Evidence): string[] {
  const last = lastAnswer === null || answers.length > 0 ? [] : [lastAnswer];
  return [
    ...[...answers, ...last].map((answer) => `${instance} answered: ${answer}`),
    ...console.map((line) => `${instance} console | ${line}`),
  ].map(printable);
}

/** Tells what was found where it is news: a rollout that ends is often judged by what turned it back. */
export function evidenceTeller(): (entry: JournalEntry) => Evidence | null {
  let told = '';
  return (entry) => {
    if (entry.event !== 'sick' && entry.event !== 'rollback-started' && entry.event !== 'rollout-finished')
      return null;
    const found = JSON.stringify(entry.evidence);
    if (found === told) return null;
    told = found;
    return entry.evidence;
  };
}

export function oneLine({ code, message, next }: ErrorReport): string {
  return printable(`${code}: ${message}. Next: ${next}`);
}

/** `copy of db: 12.0 MB of 64.0 MB (18%)` */
export function howFar(what: string, { done, total }: Progress): string {
  if (total === 0) return printable(what);
  const percent = Math.floor((100 * Math.min(done, total)) / total);
  return printable(`${what}: ${size(done)} of ${size(total)} (${percent}%)`);
}

export function size(bytes: number): string {
  return bytes < 1_000_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

export function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
