import { onTestFinished } from 'vitest';
import type { Hook, HookFacts } from '../../../src/domain/hooks.ts';

export const FACTS: HookFacts = {
  point: 'pre-cutover',
  service: 'site',
  rollout: 7,
  from: 3,
  to: 4,
  instances: ['site-7-1', 'site-7-2'],
  performer: 'ana@ci',
  reason: null,
};

export function commandHook(command: string, folder: string, timeout = 60_000): Hook {
  return { kind: 'command', command, folder, timeout };
}

/** Variables of this process's environment until the test ends. */
export function withEnvironment(variables: Record<string, string>): void {
  Object.assign(process.env, variables);
  onTestFinished(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
  });
}
