import { type Gate, type GateState, promotable } from '../domain/gate.ts';
import type { HookFacts, HookPoint } from '../domain/hooks.ts';
import { standStill } from '../domain/rollout.ts';
import type { UnideployError } from '../errors.ts';
import type { Subject } from '../measure/port.ts';
import { analyse } from './analysis.ts';
import { nobodyCame } from './failures.ts';
import { Gatekeeper } from './gatekeeper.ts';
import type { EngineParts } from './parts.ts';
import type { RolloutRecord } from './record.ts';
import type { Signal } from './signal.ts';

interface GatesParts {
  parts: EngineParts;
  record: RolloutRecord;
  changed: Signal;
  fail: (error: UnideployError) => void;
}

/** The gates of one rollout in one direction: it stands at them, and writes down when it has come to each and passed it. */
export class Gates {
  readonly #parts: EngineParts;
  readonly #record: RolloutRecord;
  readonly #changed: Signal;
  readonly #fail: (error: UnideployError) => void;
  readonly #keeper: Gatekeeper;

  constructor({ parts, record, changed, fail }: GatesParts) {
    this.#parts = parts;
    this.#record = record;
    this.#changed = changed;
    this.#fail = fail;
    const { clock, hooks, measures } = parts;
    this.#keeper = new Gatekeeper(
      {
        hooks,
        analyse: async (policy, told, signal) =>
          await analyse({ measures, clock }, policy, this.#subject(), told, signal),
        facts: async (point) => await this.#facts(point),
        onHook: (finished) => record.note({ event: 'hook-finished', ...finished }),
        onMeasured: (measured) => record.note({ event: 'measured', measured }),
        onChange: () => changed.raise(),
        now: () => clock.now(),
      },
      record.rollout.policy,
    );
  }

  /** Ends what is under way at them. */
  close(): void {
    this.#keeper.close();
  }

  /** Runs hooks that change no verdict: how they went is in the journal. */
  async tell(point: HookPoint): Promise<void> {
    await this.#keeper.run(point).catch(() => {});
  }

  /** Stands at a gate until it opens; whether it has. */
  isPassed(gate: Gate): boolean {
    const { gates, full, policy } = this.#record.rollout;
    const now = this.#parts.clock.now();
    const state = gates[gate.key];
    if (state && state.passedAt !== null) return true;
    if (!state && this.#keeper.isTrivial(gate)) {
      this.remember(gate.key, { reachedAt: now, passedAt: now, stuck: null });
      this.#record.save();
      this.#changed.raise();
      return true;
    }
    if (!state) {
      this.remember(gate.key, { reachedAt: now, passedAt: null, stuck: null });
      const promotable = gate.hooks === null;
      this.#record.write({ event: 'gate-reached', gate: gate.key, promotable, ms: gate.wait });
    }
    this.#record.stand(true);
    const reachedAt = state?.reachedAt ?? now;
    const standing = this.#keeper.check(gate, reachedAt);
    if (standing.kind === 'failed') this.#fail(standing.error);
    else if (standing.kind === 'open' || (full && gate.hooks === null)) return this.#pass(gate.key, null);
    else if (standing.kind === 'stuck') this.#stick(gate.key, standing.reason);
    const needsSomebody = gate.wait === null || standing.kind === 'stuck';
    if (needsSomebody && now - reachedAt > policy.gateTimeout.after) {
      if (policy.gateTimeout.action === 'promote') return this.#pass(gate.key, null);
      this.#fail(nobodyCame(gate.key, policy.gateTimeout.after));
    }
    return false;
  }

  /** Opens the gate that the rollout stands at, unless hooks keep it shut: nobody goes past those. */
  promote(by: string): void {
    for (const key of promotable(this.#record.rollout.gates)) this.#pass(key, by);
  }

  remember(key: string, state: GateState): void {
    this.#record.change({ gates: { ...this.#record.rollout.gates, [key]: state } });
  }

  #pass(key: string, by: string | null): true {
    const now = this.#parts.clock.now();
    const { rollout } = this.#record;
    const reachedAt = rollout.gates[key]?.reachedAt ?? now;
    this.#record.change({ ...standStill(rollout, false, now), progressAt: now });
    this.remember(key, { reachedAt, passedAt: now, stuck: null });
    this.#record.write({ event: 'gate-passed', gate: key, by, ms: now - reachedAt });
    this.#changed.raise();
    return true;
  }

  #stick(key: string, reason: string): void {
    const state = this.#record.rollout.gates[key];
    if (!state || state.stuck !== null) return;
    this.remember(key, { ...state, stuck: reason });
    this.#record.write({ event: 'gate-stuck', gate: key, reason });
  }

  #subject(): Subject {
    const { service, id, from, to } = this.#record.rollout;
    return { service, rollout: id, revision: to.revision ?? 0, stable: from.revision };
  }

  async #facts(point: HookPoint): Promise<HookFacts> {
    const { service, id, from, to, performer, reason } = this.#record.rollout;
    const machines = await this.#parts.hypervisor.list();
    const instances = machines
      .filter(({ spec }) => spec.service === service && spec.revision === to.revision)
      .map(({ spec }) => spec.id);
    return {
      point,
      service,
      rollout: id,
      from: from.revision,
      to: to.revision,
      instances,
      performer,
      reason: point === 'on-rollback' ? (reason?.message ?? null) : null,
    };
  }
}
