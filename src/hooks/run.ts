import { type Hook, type HookFacts, nameOf } from '../domain/hooks.ts';
import { UnideployError } from '../errors.ts';
import { post } from './call.ts';
import { environmentOf, type Failure, runCommand } from './command.ts';
import type { HookRunner } from './port.ts';
import { filledIn, MissingVariable, veilOf } from './secrets.ts';

/** The longest line of a hook that is shown, characters. */
const LONGEST_LINE = 200;

/**
 * Runs hooks: commands with a clean environment, calls with the variables that they name.
 * @param onLine takes each line that a command prints, without secrets, as it comes
 */
export function hookRunner(onLine: (line: string) => void = () => {}): HookRunner {
  return {
    async run(hook, facts, signal) {
      signal.throwIfAborted();
      const veil = veilOf(hook, process.env);
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), hook.timeout);
      const either = AbortSignal.any([signal, late.signal]);
      try {
        const failure = await perform(hook, facts, (line) => onLine(veil(line)), either);
        if (!failure) return;
        signal.throwIfAborted();
        const name = `${facts.point} hook \`${nameOf(hook)}\``;
        const said = failure.said.map((line) => shortened(veil(line))).join(' | ');
        const words = (how: string) => veil(`${name} ${how}`) + (said === '' ? '' : `: ${said}`);
        if (late.signal.aborted)
          throw new UnideployError(
            'UD_DEADLINE',
            words(`did not end within ${hook.timeout / 1000}s`),
            'see what it waits for, or give it more time (timeout)',
          );
        throw new UnideployError('UD_HOOK_FAILED', words(failure.how), veil(nextStep(hook)));
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

async function perform(
  hook: Hook,
  facts: HookFacts,
  onLine: (line: string) => void,
  signal: AbortSignal,
): Promise<Failure | null> {
  if (hook.kind === 'command')
    return await runCommand({ ...hook, env: environmentOf(facts), onLine }, signal);
  try {
    const headers = Object.entries(hook.headers).map(([key, text]) => [key, filledIn(text, process.env)]);
    const call = { url: filledIn(hook.url, process.env), headers: Object.fromEntries(headers) };
    return await post(call, facts, signal);
  } catch (error) {
    if (error instanceof MissingVariable) return { how: error.message, said: [] };
    throw error;
  }
}

function nextStep(hook: Hook): string {
  return hook.kind === 'command'
    ? `mend what it complains of; by hand it is run in ${hook.folder}: ${nameOf(hook)}`
    : 'mend what it complains of, or see that it can be reached with its variables from where it is called';
}

function shortened(line: string): string {
  return line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}…` : line;
}
