import { createHash } from 'node:crypto';
import type { ActiveCheck } from '../../../domain/traffic.ts';
import type { Route } from '../../port.ts';
import type { Log } from '../log.ts';
import { Check } from './check.ts';

export interface ActiveChecksOptions {
  /** an instance has turned unhealthy, or healthy again; each begins healthy */
  onVerdict(service: string, instance: string, healthy: boolean): void;
  log: Log;
}

/**
 * The data plane's own HTTP checks of its instances. Each is asked once an interval at a moment of its own, which its
 * names decide, so that a hundred guests are not asked at once; never twice at a time. Tables do not disturb that.
 */
export class ActiveChecks {
  readonly #options: ActiveChecksOptions;
  readonly #services = new Map<string, Map<string, Check>>();

  constructor(options: ActiveChecksOptions) {
    this.#options = options;
  }

  /**
   * Checks the instances of these routes, whatever their weights, and no others of the service. One at another address
   * begins anew; with another policy its verdict stays until its answers say otherwise. `null`: all count as healthy.
   */
  apply(service: string, policy: ActiveCheck | null, routes: readonly Route[]): void {
    const before = this.#services.get(service) ?? new Map<string, Check>();
    const checks = new Map<string, Check>();
    for (const route of new Map(routes.map((each) => [each.instance, each])).values()) {
      const known = before.get(route.instance);
      const same = known !== undefined && sameAddress(known.route, route);
      if (known && !known.healthy && !(same && policy))
        this.#options.onVerdict(service, route.instance, true);
      if (policy === null) continue;
      const keep = same && samePolicy(known.policy, policy);
      checks.set(route.instance, keep ? known : this.#check(service, policy, route, !same || known.healthy));
    }
    for (const [instance, check] of before) if (checks.get(instance) !== check) check.stop();
    if (checks.size > 0) this.#services.set(service, checks);
    else this.#services.delete(service);
  }

  /** Checks the service no more, and tells nothing more of it. */
  remove(service: string): void {
    this.apply(service, null, []);
  }

  /** Checks nothing more; questions under way are dropped. */
  stop(): void {
    for (const service of [...this.#services.keys()]) this.remove(service);
  }

  /** The instances that are unhealthy now: what a worker has to be told that has just started. */
  unhealthy(service: string): string[] {
    const checks = this.#services.get(service)?.values() ?? [];
    return [...checks].filter(({ healthy }) => !healthy).map(({ route }) => route.instance);
  }

  #check(service: string, policy: ActiveCheck, route: Route, healthy: boolean): Check {
    const { instance } = route;
    const check: Check = new Check(route, policy, offsetOf(service, instance), healthy, (cause) => {
      const [level, word] = check.healthy ? (['info', 'healthy'] as const) : (['warn', 'unhealthy'] as const);
      this.#options.log(level, `checks found an instance ${word}`, { service, instance, cause });
      this.#options.onVerdict(service, instance, check.healthy);
    });
    return check;
  }
}

/** 0 to 1, always the same for the same names. */
function offsetOf(service: string, instance: string): number {
  return createHash('sha256').update(`${service} ${instance}`).digest().readUInt32BE() / 2 ** 32;
}

function sameAddress(a: Route, b: Route): boolean {
  return a.host === b.host && a.port === b.port;
}

function samePolicy(a: ActiveCheck, b: ActiveCheck): boolean {
  return (
    a.path === b.path &&
    a.interval === b.interval &&
    a.timeout === b.timeout &&
    a.healthy === b.healthy &&
    a.unhealthy === b.unhealthy
  );
}
