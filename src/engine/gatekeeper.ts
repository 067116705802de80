import type { AnalysisPolicy, Conclusion, Measured } from '../domain/analysis.ts';
import type { Gate } from '../domain/gate.ts';
import { type Hook, type HookFacts, type HookPoint, nameOf } from '../domain/hooks.ts';
import type { RolloutPolicy } from '../domain/policy.ts';
import { type ErrorReport, report, UnideployError } from '../errors.ts';
import type { HookRunner } from '../hooks/port.ts';

/** What keeps a gate shut besides time. */
export interface Keeper {
  hooks: HookRunner;
  /** judges the new revision; its signal ends it early */
  analyse(
    policy: AnalysisPolicy,
    told: (measured: Measured) => void,
    signal: AbortSignal,
  ): Promise<Conclusion>;
  facts(point: HookPoint): Promise<HookFacts>;
  onHook(finished: { point: HookPoint; hook: string; ms: number; error: ErrorReport | null }): void;
  onMeasured(measured: Measured): void;
  /** something has ended that a gate was waiting for */
  onChange(): void;
  now(): number;
}

/** What a gate comes to at a moment. */
export type Standing =
  | { kind: 'shut' }
  /** it does not open by itself any more */
  | { kind: 'stuck'; reason: string }
  | { kind: 'open' }
  | { kind: 'failed'; error: UnideployError };

/** What is under way at one gate. */
interface Work {
  hooks: 'under way' | 'done' | UnideployError;
  analysis: 'under way' | Conclusion | UnideployError;
}

/** Does what the gates of one rollout ask for, each once. What a controller that died has begun is begun again. */
export class Gatekeeper {
  readonly #keeper: Keeper;
  readonly #policy: RolloutPolicy;
  readonly #works = new Map<string, Work>();
  readonly #end = new AbortController();

  constructor(keeper: Keeper, policy: RolloutPolicy) {
    this.#keeper = keeper;
    this.#policy = policy;
  }

  /** Whether the gate keeps nobody up: it can be passed without a word. */
  isTrivial(gate: Gate): boolean {
    return gate.wait === 0 && this.#hooksOf(gate).length === 0 && this.#analysisOf(gate) === null;
  }

  /** @param reachedAt epoch milliseconds */
  check(gate: Gate, reachedAt: number): Standing {
    const { hooks, analysis } = this.#workAt(gate);
    if (hooks instanceof UnideployError) return { kind: 'failed', error: hooks };
    if (analysis instanceof UnideployError) return { kind: 'failed', error: analysis };
    if (hooks === 'under way') return { kind: 'shut' };
    const waits = gate.wait === null || this.#keeper.now() - reachedAt < gate.wait;
    if (analysis === 'under way') return { kind: 'shut' };
    if (analysis.outcome === 'failed') return { kind: 'failed', error: worse(analysis) };
    if (analysis.outcome === 'inconclusive') return { kind: 'stuck', reason: analysis.reason };
    return { kind: waits ? 'shut' : 'open' };
  }

  /** Runs the hooks of a point, one after the other, to the first that fails. */
  async run(point: HookPoint, signal: AbortSignal = this.#end.signal): Promise<void> {
    const facts = await this.#keeper.facts(point);
    for (const hook of this.#policy.hooks[point]) await this.#runOne(hook, facts, signal);
  }

  /** Ends what is under way. */
  close(): void {
    this.#end.abort();
  }

  #workAt(gate: Gate): Work {
    const known = this.#works.get(gate.key);
    if (known) return known;
    const work: Work = { hooks: 'under way', analysis: 'under way' };
    this.#works.set(gate.key, work);
    void this.#doWork(gate, work);
    return work;
  }

  async #doWork(gate: Gate, work: Work): Promise<void> {
    try {
      if (gate.hooks && this.#hooksOf(gate).length > 0) await this.run(gate.hooks);
      work.hooks = 'done';
    } catch (error) {
      work.hooks = toError(error);
    }
    this.#keeper.onChange();
    if (work.hooks !== 'done') return;
    const analysis = this.#analysisOf(gate);
    try {
      work.analysis = analysis
        ? await this.#keeper.analyse(
            analysis,
            (measured) => this.#keeper.onMeasured(measured),
            this.#end.signal,
          )
        : PASSED;
    } catch (error) {
      work.analysis = toError(error);
    }
    this.#keeper.onChange();
  }

  async #runOne(hook: Hook, facts: HookFacts, signal: AbortSignal): Promise<void> {
    const began = this.#keeper.now();
    const finished = (error: ErrorReport | null) =>
      this.#keeper.onHook({ point: facts.point, hook: nameOf(hook), ms: this.#keeper.now() - began, error });
    try {
      await this.#keeper.hooks.run(hook, facts, signal);
      finished(null);
    } catch (error) {
      finished(report(error));
      throw error;
    }
  }

  #hooksOf(gate: Gate): Hook[] {
    return gate.hooks === null ? [] : this.#policy.hooks[gate.hooks];
  }

  #analysisOf(gate: Gate): AnalysisPolicy | null {
    return gate.analysed ? this.#policy.analysis : null;
  }
}

const PASSED: Conclusion = { outcome: 'passed', reason: '' };

function worse({ reason }: Conclusion): UnideployError {
  return new UnideployError(
    'UD_ANALYSIS_FAILED',
    `the new revision is worse than it may be: ${reason}`,
    'look at its answers and its console, mend it, and roll out again',
  );
}

function toError(error: unknown): UnideployError {
  if (error instanceof UnideployError) return error;
  const { code, message, next } = report(error);
  return new UnideployError(code, message, next, { cause: error });
}
