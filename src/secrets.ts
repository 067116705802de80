type Environment = Readonly<Record<string, string | undefined>>;

/** Variables that are called like this are taken for secrets. */
const SECRET_NAME = /TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|KEY/i;
/** A shorter value would blacken words that are none. Characters. */
const SHORTEST_SECRET = 6;
/** `${NAME}`, as a config names a variable. */
const VARIABLE = /\$\{([A-Za-z_]\w*)\}/g;

/** Secrets by their form, whoever said them. */
const FORMS: [RegExp, string][] = [
  [/\b(authorization["']?\s*[:=]\s*["']?(?:bearer|basic|token)\s+)[^\s"',;]+/gi, '$1***'],
  [/\b(bearer\s+)[\w.~+/=-]{8,}/gi, '$1***'],
  [/\b([a-z][a-z0-9+.-]*:\/\/[^\s/:@]*:)[^\s/@]+@/gi, '$1***@'],
  [/\b(udt_[0-9a-f]{12}_)[\w-]{43}/g, '$1***'],
];

/** Takes what is secret out of whatever is shown or kept. */
export class Secrets {
  readonly #env: Environment;
  /** longest first: one may be the beginning of another */
  #values: string[] = [];

  /** Knows the values of the variables whose names say that they are secrets. */
  constructor(env: Environment = process.env) {
    this.#env = env;
    this.add(...suspectedIn(env));
  }

  /** Values that are secret, too; of several lines, each is one. */
  add(...values: (string | undefined)[]): void {
    const lines = values.flatMap((value) => linesOf(value, SHORTEST_SECRET));
    this.#values = [...new Set([...this.#values, ...lines])].sort((a, b) => b.length - a.length);
  }

  /** The variables that these texts of a config name as `${NAME}`. */
  addNamed(...texts: string[]): void {
    this.add(...namesIn(texts).map((name) => this.#env[name]));
  }

  readonly veil = (text: string): string => veiled(text, this.#values);

  /** The same of a value of JSON, in all its texts; its keys stay. */
  readonly veilAll = <T>(value: T): T => {
    if (typeof value === 'string') return this.veil(value) as T;
    if (Array.isArray(value)) return value.map((each) => this.veilAll(each)) as T;
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, this.veilAll(each)])) as T;
  };
}

/** @param values longest first */
export function veiled(text: string, values: readonly string[]): string {
  const known = values.reduce((rest, secret) => rest.replaceAll(secret, '***'), text);
  return FORMS.reduce((rest, [form, instead]) => rest.replace(form, instead), known);
}

/** Names of the variables that texts of a config stand for. */
export function namesIn(texts: readonly string[]): string[] {
  return texts.flatMap((text) => [...text.matchAll(VARIABLE)].map(([, name = '']) => name));
}

/** What is said is looked at line by line, and a key file has many. */
export function linesOf(value: string | undefined, shortest: number): string[] {
  return (value ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.length >= shortest);
}

/** The values of the variables whose names say that they are secrets. */
export function suspectedIn(env: Environment): string[] {
  return Object.entries(env)
    .filter(([name]) => SECRET_NAME.test(name))
    .flatMap(([, value]) => linesOf(value, SHORTEST_SECRET));
}
