import type { Hook } from '../domain/hooks.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const VARIABLE = /\$\{([A-Za-z_]\w*)\}/g;
/** Variables that are called like this are taken for secrets where somebody says what is in them. */
const SECRET_NAME = /TOKEN|SECRET|PASSWORD|KEY/i;
/** A shorter value of theirs would blacken words that are none. Characters. */
const SHORTEST_SECRET = 6;

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

/** Takes the secrets that a hook may know out of a text. */
export function veilOf(hook: Hook, env: Environment): (text: string) => string {
  const secrets = [...named(hook, env), ...suspected(env)]
    // Longest first: one may be the beginning of another.
    .sort((a, b) => b.length - a.length);
  return (text) => secrets.reduce((rest, secret) => rest.replaceAll(secret, '***'), text);
}

function named(hook: Hook, env: Environment): string[] {
  if (hook.kind === 'command') return [];
  return [hook.url, ...Object.values(hook.headers)]
    .flatMap((text) => [...text.matchAll(VARIABLE)])
    .flatMap(([, name = '']) => linesOf(env[name], 1));
}

function suspected(env: Environment): string[] {
  return Object.entries(env)
    .filter(([name]) => SECRET_NAME.test(name))
    .flatMap(([, value]) => linesOf(value, SHORTEST_SECRET));
}

/** What hooks say is looked at line by line, and a key file has many. */
function linesOf(value: string | undefined, shortest: number): string[] {
  return (value ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.length >= shortest);
}
