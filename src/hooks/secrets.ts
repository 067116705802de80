import type { Hook } from '../domain/hooks.ts';
import { linesOf, namesIn, suspectedIn, veiled } from '../secrets.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const VARIABLE = /\$\{([A-Za-z_]\w*)\}/g;

/**
 * The text with the values of the variables that it names.
 * @throws MissingVariable
 */
export function filledIn(text: string, env: Environment): string {
  return text.replaceAll(VARIABLE, (_, name: string) => {
    const value = env[name];
    if (value === undefined) throw new MissingVariable(name);
    return value;
  });
}

export class MissingVariable extends Error {
  constructor(name: string) {
    super(`names the variable ${name}, which is not set`);
    this.name = 'MissingVariable';
  }
}

/** Takes the secrets that a hook may know out of a text: of what it names itself, also the shortest. */
export function veilOf(hook: Hook, env: Environment): (text: string) => string {
  const named = hook.kind === 'command' ? [] : namesIn([hook.url, ...Object.values(hook.headers)]);
  const secrets = [...named.flatMap((name) => linesOf(env[name], 1)), ...suspectedIn(env)].sort(
    (a, b) => b.length - a.length,
  );
  return (text) => veiled(text, secrets);
}
