import type { Match } from '../../domain/traffic.ts';

/** Who takes which requests of a listener that several share. */
export class Matches<T> {
  readonly #rules: readonly Rule<T>[];
  /** where one takes everything there is nothing to look for */
  readonly #only: T | undefined;

  constructor(claims: readonly { of: T; match: readonly Match[] }[]) {
    const rules = claims.flatMap(({ of, match }) => claimed(match).map((each) => ({ ...each, of })));
    // a host counts more than a path, and a long path more than a short one
    this.#rules = rules.sort(
      (a, b) => Number(b.host !== null) - Number(a.host !== null) || b.path.length - a.path.length,
    );
    const [first] = rules;
    this.#only =
      rules.length === 1 && first && first.host === null && first.path === '/' ? first.of : undefined;
  }

  /** @param host in lower case, without a port */
  find(host: string, path: string): T | undefined {
    if (this.#only !== undefined) return this.#only;
    return this.#rules.find((rule) => (rule.host === null || rule.host === host) && isBelow(path, rule.path))
      ?.of;
  }
}

/** What both would take; undefined where they are apart. */
export function sameClaim(a: readonly Match[], b: readonly Match[]): Match | undefined {
  return claimed(a).find((mine) =>
    claimed(b).some(({ host, path }) => host === mine.host && path === mine.path),
  );
}

interface Rule<T> extends Match {
  of: T;
}

function claimed(match: readonly Match[]): Match[] {
  if (match.length === 0) return [{ host: null, path: '/' }];
  return match.map(({ host, path }) => ({
    host: host?.toLowerCase() ?? null,
    path: path.replace(/(.)\/$/, '$1'),
  }));
}

/** Whole segments: `/api` is above `/api/x` and `/api?x`, not above `/apis`. */
function isBelow(path: string, prefix: string): boolean {
  if (prefix === '/') return true;
  if (!path.startsWith(prefix)) return false;
  const next = path[prefix.length];
  return next === undefined || next === '/' || next === '?';
}
