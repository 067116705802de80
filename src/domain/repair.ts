import type { Cause, Diagnosis, SupervisionPolicy, Treatment } from './supervision.ts';

/** A sick instance, as a repair is told of it. */
export interface Sick {
  instance: string;
  cause: Cause;
  treatment: Treatment;
}

/** What is to become of a sick instance by the policy of its service. */
export function sickOf(
  instance: string,
  { cause }: Diagnosis,
  { treatments }: Pick<SupervisionPolicy, 'treatments'>,
): Sick {
  return { instance, cause, treatment: treatments[cause] ?? 'replace' };
}

/** Guests that may hear their power button, and finish what they have begun. The others are not waited for. */
export function mayFinish({ cause }: Pick<Sick, 'cause'>): boolean {
  return cause === 'erring' || cause === 'starved';
}

/** How long a guest that cannot be counted on may take to power down, ms: what it has written may still be saved. */
export const HOPELESS_GRACE = 2_000;
