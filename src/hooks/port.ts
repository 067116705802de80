import type { Hook, HookFacts } from '../domain/hooks.ts';

/** Runs commands and calls addresses at points of a rollout. */
export interface HookRunner {
  /** @throws UD_HOOK_FAILED with its last words; UD_DEADLINE after its time-out. Ends it when the signal says so. */
  run(hook: Hook, facts: HookFacts, signal: AbortSignal): Promise<void>;
}
