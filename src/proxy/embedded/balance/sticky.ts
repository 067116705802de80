import { createHash } from 'node:crypto';
import type { Balancer } from './balancer.ts';
import type { Candidate } from './group.ts';

/** What a client's cookie says of where it was before. */
export interface StickyCookie {
  /** `stickyValue` of its instance */
  value: string;
  revision: number;
}

/** An instance that clients can stay with. */
export interface StickyCandidate extends Candidate {
  readonly name: string;
}

/** The cookie's value for an instance: its revision and a hash of its name, so that it tells nothing of the inside. */
export function stickyValue({ revision, name }: Pick<StickyCandidate, 'revision' | 'name'>): string {
  return `${revision}.${createHash('sha256').update(name).digest('hex').slice(0, 16)}`;
}

/** What `Set-Cookie` says; `secure`: the client came over TLS. */
export function stickyHeader(name: string, value: string, secure: boolean): string {
  return `${name}=${value}; Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
}

/** The first cookie of that name in a `Cookie` header; undefined where there is none or its value is not one of ours. */
export function parseSticky(cookieHeader: string | undefined, name: string): StickyCookie | undefined {
  if (!cookieHeader?.includes(name)) return undefined;
  const ours = cookieHeader.split(';').find((pair) => nameOf(pair) === name);
  const value = ours?.slice(ours.indexOf('=') + 1).trim() ?? '';
  return OURS.test(value) ? { value, revision: Number.parseInt(value, 10) } : undefined;
}

/**
 * The `Cookie` header without ours, which is nothing to the instance (as HAProxy's `cookie indirect`): an application must
 * not come to depend on it. The rest stays as it is; undefined where nothing is left.
 */
export function withoutSticky(cookieHeader: string, name: string): string | undefined {
  if (!cookieHeader.includes(name)) return cookieHeader;
  const pairs = cookieHeader.split(';');
  const others = pairs.filter((pair) => nameOf(pair) !== name);
  if (others.length === pairs.length) return cookieHeader;
  return others.join(';').trim() || undefined;
}

/** Where the clients of one table's instances stay. */
export class Sticky<T extends StickyCandidate> {
  readonly #balancer: Balancer<T>;
  readonly #byValue = new Map<string, T>();
  readonly #values = new Map<T, string>();

  /** `balancer`: the one of the same candidates. */
  constructor(candidates: readonly T[], balancer: Balancer<T>) {
    this.#balancer = balancer;
    for (const candidate of candidates) {
      const value = stickyValue(candidate);
      this.#byValue.set(value, candidate);
      this.#values.set(candidate, value);
    }
  }

  /** `stickyValue` of one of the candidates, made once; undefined for any other. */
  valueOf(candidate: T): string | undefined {
    return this.#values.get(candidate);
  }

  /**
   * The instance that the client was with, as long as it has a weight, is usable and is none of `tried`; else another of
   * the same revision. Undefined where the revision has none: then the choice is the balancer's, as for a new client.
   * Weights do not move a client, nor do clients that stay move the shares of new ones.
   */
  choose(cookie: StickyCookie, usable: (candidate: T) => boolean, tried: readonly T[]): T | undefined {
    const known = this.#byValue.get(cookie.value);
    if (known !== undefined && known.weight > 0 && !tried.includes(known) && usable(known)) return known;
    return this.#balancer.chooseOf(cookie.revision, usable, tried);
  }
}

function nameOf(pair: string): string {
  const equals = pair.indexOf('=');
  return equals === -1 ? '' : pair.slice(0, equals).trim();
}

// every quantifier is bounded and no two can take the same character
const OURS = /^(?:0|[1-9]\d{0,14})\.[0-9a-f]{16}$/;
