import type { HealthPolicy } from './policy.ts';
import type { Proof } from './revision.ts';

export type Health = 'unknown' | 'healthy' | 'unhealthy';

/** What one round of questions to an instance brought. */
export interface Answers {
  healthy: boolean;
  /** one line for people: `503 no volume`, `no answer within 1000 ms` */
  summary: string;
  /** body by probe path, for the paths that were answered with 200 */
  bodies: Record<string, string>;
}

/** What is known of an instance from its own answers. */
export interface Reading {
  health: Health;
  /** answers in a row of the same kind, successes or failures */
  streak: number;
  last: Answers | null;
  /** bodies of the last success, which prove the revision until another success says otherwise */
  bodies: Answers['bodies'];
  /** epoch milliseconds of `last` */
  at: number;
  /** since when every answer was a success, epoch milliseconds; null: the last one was none */
  since: number | null;
  /** the last answers in a line each, oldest first */
  answers: string[];
}

/** Answers that are kept to be shown. */
const KEPT = 5;

export const UNREAD: Reading = {
  health: 'unknown',
  streak: 0,
  last: null,
  bodies: {},
  at: 0,
  since: null,
  answers: [],
};

/** The reading after one more round; health turns only when its threshold of answers in a row is met. */
export function read(before: Reading, answers: Answers, policy: HealthPolicy, at: number): Reading {
  const streak = before.last?.healthy === answers.healthy ? before.streak + 1 : 1;
  const threshold = answers.healthy ? policy.healthy : policy.unhealthy;
  const turned: Health = answers.healthy ? 'healthy' : 'unhealthy';
  return {
    health: streak >= threshold ? turned : before.health,
    streak,
    last: answers,
    bodies: answers.healthy ? answers.bodies : before.bodies,
    at,
    since: answers.healthy ? (before.since ?? at) : null,
    answers: [...before.answers, answers.summary].slice(-KEPT),
  };
}

/** Whether the application's own answers prove the revision. Nothing to prove proves nothing, and is no obstacle. */
export function proven(expected: Proof[], bodies: Answers['bodies']): boolean {
  return expected.every(({ path, expect }) => bodies[path]?.trim() === expect);
}
