import type { SupervisionPolicy } from '../domain/supervision.ts';
import type { Breach } from './rules.ts';
import type { Declaration } from './schema.ts';

export function supervisionOf({ supervision }: Declaration): SupervisionPolicy {
  const { errors, memory, dump, ...rest } = supervision;
  return { ...rest, errors: errors || null, memory: memory || null, dump: dump || 0 };
}

/** What no single key of `supervision` can be blamed for. @param guestMemory MiB */
export function supervisionBreaches({ supervision, health }: Declaration, guestMemory: number): Breach[] {
  const found: Breach[] = [];
  const breach = (keys: string[], message: string) =>
    found.push({ path: ['supervision', ...keys], message: `supervision.${keys.join('.')} is ${message}` });
  const { limits, memory, dump } = supervision;
  if (limits.backoff >= limits.window)
    breach(
      ['limits', 'backoff'],
      `${limits.backoff / 1000}s, expected less than the ${limits.window / 1000}s of supervision.limits.window`,
    );
  if (memory && memory.horizon < health.interval)
    breach(
      ['memory', 'horizon'],
      `${memory.horizon / 1000}s, expected at least the ${health.interval / 1000}s of health.interval`,
    );
  if (dump && dump < guestMemory)
    breach(['dump'], `${dump}M, expected at least the ${guestMemory}M of memory that one guest has`);
  return found;
}
