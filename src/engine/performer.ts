import { type Action, instancesOf } from '../domain/action.ts';
import type { Happening } from '../domain/journal.ts';
import type { Swapped } from '../domain/pace.ts';
import { goal } from '../domain/rollout.ts';
import { report } from '../errors.ts';
import { execute, type Task } from './executors.ts';
import { inVain } from './failures.ts';
import type { EngineParts } from './parts.ts';
import type { RolloutRecord } from './record.ts';
import type { Signal } from './signal.ts';
import { candidatesOf, type Revisions, targetOf } from './view.ts';

/** How often one action may be begun on one instance, in one direction: more means that it changes nothing. */
const MOST_ATTEMPTS = 5;
/** How many instances may go by themselves on the way back: more means that the revision does not live here any more. */
const MOST_LOST = 5;

/** An action that is about to be performed. */
interface Begun {
  action: Action;
  instances: string[];
  attempts: number;
  /** whose failure its own would be */
  culprit: string | null;
}

interface PerformerParts {
  parts: EngineParts;
  revisions: Revisions;
  record: RolloutRecord;
  changed: Signal;
  fail: (error: unknown, instance: string | null) => void;
}

/** The actions of one rollout that are under way, and what is known of those that were. */
export class Performer {
  /** by instance */
  readonly acting = new Map<string, Action['kind']>();
  /** swaps that have ended well, in the present direction */
  swapped: Swapped[] = [];
  readonly #parts: EngineParts;
  readonly #revisions: Revisions;
  readonly #record: RolloutRecord;
  readonly #changed: Signal;
  readonly #fail: (error: unknown, instance: string | null) => void;
  readonly #attempts = new Map<string, number>();
  /** instances whose machine has gone by itself, in the present direction */
  readonly #lost = new Set<string>();
  #unrecorded: { error: unknown } | null = null;

  constructor({ parts, revisions, record, changed, fail }: PerformerParts) {
    this.#parts = parts;
    this.#revisions = revisions;
    this.#record = record;
    this.#changed = changed;
    this.#fail = fail;
  }

  /** how many more instances may be lost on the way back */
  get spare(): number {
    return MOST_LOST - this.#lost.size;
  }

  lost(instance: string): void {
    this.#lost.add(instance);
  }

  /** Throws what the store has said where it did not take the end of an action. */
  expectRecorded(): void {
    if (this.#unrecorded) throw this.#unrecorded.error;
  }

  /** Everything is new on the way back. */
  turn(): void {
    this.#attempts.clear();
    this.#lost.clear();
    this.swapped = [];
  }

  /** Begins actions and goes on; the end of each raises the signal. */
  start(actions: Action[]): void {
    const busy = new Set(this.acting.keys());
    const begun = actions.flatMap((action) => this.#attempt(action, busy) ?? []);
    if (begun.length === 0) return;
    const { revision } = goal(this.#record.rollout);
    this.#record.write(
      ...begun.map(({ action }): Happening => ({ event: 'action-started', action, revision })),
    );
    // Only now: what could not be recorded does not begin.
    for (const { action, instances } of begun)
      for (const instance of instances) this.acting.set(instance, action.kind);
    const task = this.#task();
    const beside = [...this.acting.values()].filter((kind) => kind === 'swapVolume').length;
    for (const each of begun) this.#perform(each, task, beside);
  }

  /** Counts a further attempt at an action, and its instances among the busy ones; null: it is not to begin. */
  #attempt(action: Action, busy: Set<string>): Begun | null {
    const instances = instancesOf(action);
    if (instances.some((instance) => busy.has(instance))) return null;
    const attempt =
      action.kind === 'shift'
        ? `shift to ${JSON.stringify(action.weights)}`
        : `${action.kind} of ${action.instance}`;
    const attempts = (this.#attempts.get(attempt) ?? 0) + 1;
    this.#attempts.set(attempt, attempts);
    const culprit = action.kind === 'shift' ? null : action.instance;
    if (attempts > MOST_ATTEMPTS) {
      this.#fail(inVain(attempt, MOST_ATTEMPTS), culprit);
      return null;
    }
    if (action.kind === 'launch') this.#record.change({ launches: this.#record.rollout.launches + 1 });
    for (const instance of instances) busy.add(instance);
    return { action, instances, attempts, culprit };
  }

  #perform({ action, instances, attempts, culprit }: Begun, task: Task, beside: number): void {
    const { clock } = this.#parts;
    const began = clock.now();
    const isOfThisWay = () => task.rollout.direction === this.#record.rollout.direction;
    const succeeded = () => {
      const ms = clock.now() - began;
      this.#record.ended({ event: 'action-finished', action, ms });
      if (action.kind === 'swapVolume' && isOfThisWay()) this.swapped.push({ beside, ms });
    };
    const failed = async (error: unknown) => {
      this.#record.note({ event: 'action-failed', action, ms: clock.now() - began, error: report(error) });
      if (!isOfThisWay()) return;
      if (attempts < MOST_ATTEMPTS && (await this.#isBearable(action))) return;
      this.#fail(error, culprit);
    };
    void execute(action, task)
      .then(succeeded, failed)
      .catch((error: unknown) => {
        this.#unrecorded ??= { error };
      })
      .finally(() => {
        for (const instance of instances) this.acting.delete(instance);
        this.#changed.raise();
      });
  }

  /**
   * Whether the strategy may decide anew after an action that failed. On the way back there is nothing better to go to: an
   * instance that does not answer may do so later, and one that has gone is replaced by another.
   */
  async #isBearable(action: Action): Promise<boolean> {
    if (this.#record.rollout.direction === 'forward') return false;
    if (action.kind === 'shift' || action.kind === 'admit') return true;
    const { instance } = action;
    const machine = await this.#parts.hypervisor.find(instance).catch(() => 'unknown' as const);
    if (machine === 'unknown' || machine?.state === 'running') return false;
    this.#lost.add(instance);
    return this.#lost.size <= MOST_LOST;
  }

  #task(): Task {
    const { rollout } = this.#record;
    const volumes = candidatesOf(rollout, this.#revisions).flatMap((revision) => revision.volumes);
    const note: Task['note'] = (happening, changes) => this.#record.note(happening, changes);
    return { ...this.#parts, rollout, target: targetOf(rollout, this.#revisions), volumes, note };
  }
}
