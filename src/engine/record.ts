import type { Happening } from '../domain/journal.ts';
import { type Rollout, standStill } from '../domain/rollout.ts';
import type { Happened, Left } from '../store/port.ts';
import type { EngineParts } from './parts.ts';

/** One open rollout as it is, and its way into the store. Once the controller is leaving nothing more is written. */
export class RolloutRecord {
  readonly #parts: Pick<EngineParts, 'store' | 'clock' | 'onJournal'>;
  readonly #leaving: AbortSignal;
  #rollout: Rollout;
  /** what has ended, to be written with what is written next: each transaction waits for the disk */
  #ended: Happened[] = [];
  #writing = false;

  constructor(
    parts: Pick<EngineParts, 'store' | 'clock' | 'onJournal'>,
    rollout: Rollout,
    leaving: AbortSignal,
  ) {
    this.#parts = parts;
    this.#rollout = rollout;
    this.#leaving = leaving;
  }

  get rollout(): Rollout {
    return this.#rollout;
  }

  /** While it writes into the journal itself: what comes then is no order. */
  get writing(): boolean {
    return this.#writing;
  }

  /** whether something has ended and is not written yet */
  get isBehind(): boolean {
    return this.#ended.length > 0;
  }

  /** Is not written by itself: it goes with what is written next. */
  change(changes: Partial<Rollout>): void {
    this.#rollout = { ...this.#rollout, ...changes };
  }

  /** The rollout stands still on purpose from now on, or no more. */
  stand(still: boolean): void {
    const before = this.#rollout;
    this.#rollout = standStill(before, still, this.#parts.clock.now());
    if (this.#rollout !== before) this.save();
  }

  save(): void {
    if (!this.#leaving.aborted) this.#parts.store.updateRollout(this.#rollout);
  }

  /** An action has ended well: that the rollout gets on. */
  ended(happening: Happening): void {
    const at = this.#parts.clock.now();
    this.change({ progressAt: at });
    this.#ended.push({ at, happening });
  }

  /** The rollout as it is from now on, and why. */
  write(...happenings: Happening[]): void {
    if (this.#leaving.aborted) return;
    const at = this.#parts.clock.now();
    const happened = happenings.map((happening) => ({ at, happening }));
    this.#parts.store.record(this.#rollout, [...this.#ended, ...happened]);
    this.#ended = [];
    this.#written();
  }

  /** What has ended, if anything has. */
  catchUp(): void {
    if (this.isBehind) this.write();
  }

  /** Something that changes nothing of the rollout itself, or no more than these. */
  note(happening: Happening, changes?: Partial<Rollout>): void {
    if (this.#leaving.aborted) return;
    if (changes) {
      this.change(changes);
      this.write(happening);
      return;
    }
    this.catchUp();
    this.#parts.store.append(this.#rollout, this.#parts.clock.now(), happening);
    this.#written();
  }

  /** Its end; where the controller is leaving it stays open. */
  close(end: Pick<Rollout, 'state' | 'reason'>, tell: (ms: number) => Happening, left: Left): void {
    if (this.#leaving.aborted) return;
    this.catchUp();
    const endedAt = this.#parts.clock.now();
    this.#rollout = { ...standStill(this.#rollout, false, endedAt), ...end, endedAt };
    this.#parts.store.closeRollout(this.#rollout, tell(endedAt - this.#rollout.startedAt), left);
    this.#parts.onJournal(this.#rollout.id);
  }

  #written(): void {
    this.#writing = true;
    this.#parts.onJournal(this.#rollout.id);
    this.#writing = false;
  }
}
