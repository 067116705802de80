import type { Action } from '../../domain/action.ts';
import type { Evidence, JournalEntry } from '../../domain/journal.ts';
import type { RolloutKind } from '../../domain/rollout.ts';
import type { ErrorReport } from '../../errors.ts';
import type { Result } from './renderer.ts';

/** What happened, in words; null for what needs no line of its own. */
export function describe(entry: JournalEntry): string | null {
  switch (entry.event) {
    case 'rollout-started': {
      const from = entry.from === null ? 'nothing' : `revision ${entry.from}`;
      const to = entry.to === null ? 'nothing' : `revision ${entry.to} on ${entry.replicas}`;
      const what = named(entry.rollout, entry.kind, entry.service);
      return `${what}: ${from} → ${to}, ${entry.strategy}, by ${entry.performer}`;
    }
    case 'rollout-resumed':
      return `taken over by controller ${entry.controller}`;
    case 'action-started':
      return null;
    case 'action-finished':
      return `${did(entry.action, null)} (${seconds(entry.ms)})`;
    case 'action-failed':
      return `${doing(entry.action)} failed after ${seconds(entry.ms)}: ${entry.error.message}`;
    case 'waiting':
      return `waiting for ${entry.reason}`;
    case 'rollback-started': {
      const to = entry.to === null ? 'to nothing, for nothing ran before' : `to revision ${entry.to}`;
      return [`going back ${to}: ${oneLine(entry.reason)}`, ...evidence(entry.evidence)].join('\n');
    }
    case 'rollout-finished':
      return entry.verified || entry.verdict !== 'succeeded'
        ? null
        : 'unverified: the application cannot tell its revision';
  }
}

/** Every change is a rollout with its number: `scale 3` must not read as three replicas. */
export function named(id: number, kind: RolloutKind, service: string): string {
  return `rollout ${id} of ${service}${kind === 'rollout' ? '' : ` (${kind})`}`;
}

/** Present tense, for what is under way. */
export function doing(action: Action): string {
  switch (action.kind) {
    case 'launch':
      return `launching ${action.instance}`;
    case 'admit':
      return `admitting ${action.instance}`;
    case 'drain':
      return `draining ${action.instance}`;
    case 'retire':
      return `retiring ${action.instance}`;
    case 'swapVolume':
      return `swapping the volume of ${action.instance}${action.hold ? ', requests held' : ''}`;
  }
}

/** Past tense; `planned` steps are told as what is to be done. */
export function did(action: Action, planned: 'planned' | null): string {
  const words = {
    launch: ['launched', 'launch'],
    admit: ['admitted', 'admit'],
    drain: ['drained', 'drain'],
    retire: ['retired', 'retire'],
    swapVolume: ['swapped the volume of', 'swap the volume of'],
  }[action.kind];
  return `${words[planned ? 1 : 0]} ${action.instance}${action.kind === 'swapVolume' && action.hold ? ', requests held' : ''}`;
}

/** How a command that has succeeded has left the service. */
export function summary({ result, service, revision, ms }: Result): string {
  const serving = revision === null ? `${service} serves nothing` : `${service} serves revision ${revision}`;
  return result === 'unchanged' ? `no change: ${serving} already` : `done: ${serving}, after ${seconds(ms)}`;
}

/** The error of a command that has not succeeded, with what it has left; null when it has. */
export function failure({ result, service, revision, rollout, ms, error }: Result): ErrorReport | null {
  if (!error) return null;
  const outcome =
    result === 'rolled-back'
      ? `rolled back, ${service} serves revision ${revision} again after ${seconds(ms)}`
      : `rollout ${rollout} of ${service} ${result} after ${seconds(ms)}`;
  return { ...error, message: `${outcome}: ${error.message}` };
}

export function oneLine({ code, message, next }: ErrorReport): string {
  return `${code}: ${message}. Next: ${next}`.replaceAll(/\s*\n\s*/g, ' ');
}

export function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function evidence(found: Evidence | null): string[] {
  if (!found) return [];
  const answer = found.lastAnswer === null ? [] : [`  ${found.instance} last answered: ${found.lastAnswer}`];
  const lines = found.console.map((line) => `  ${found.instance} console | ${line}`);
  return [...answer, ...lines];
}
