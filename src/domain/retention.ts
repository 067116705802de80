import { artifactsOf, type Digest, type Revision } from './revision.ts';

/** What is known of one service when it is asked which artifacts it needs. */
export interface Holdings {
  /** newest first */
  revisions: Revision[];
  /** stable revisions whose artifacts are kept, to go back to */
  keep: number;
  /** the revision that its last rollout reached; null: none */
  goal: number | null;
  /** the revision that a rollback goes to; null: there is none */
  previous: number | null;
  /** revisions that the rollout under way moves between */
  moving: number[];
}

/** The revisions that must stay for a service, by number, each with the reason that people are told. */
export function kept({ revisions, keep, goal, previous, moving }: Holdings): Map<number, string> {
  const stable = revisions.filter(({ stableAt }) => stableAt !== null).slice(0, keep);
  const reasonOf = (revision: Revision): string | null => {
    const { number, pinned } = revision;
    if (number === goal) return 'served';
    if (moving.includes(number)) return 'of the rollout under way';
    if (pinned) return `pinned by ${pinned.by}`;
    if (stable.includes(revision)) return 'stable';
    return number === previous ? 'what a rollback goes to' : null;
  };
  const reasons = new Map<number, string>();
  for (const revision of revisions) {
    const reason = reasonOf(revision);
    if (reason !== null) reasons.set(revision.number, `${revision.service} ${revision.number}: ${reason}`);
  }
  return reasons;
}

/** The artifacts of these, each with the reason of the newest. */
export function needed(holdings: Holdings): Map<Digest, string> {
  const numbers = kept(holdings);
  const reasons = new Map<Digest, string>();
  for (const revision of holdings.revisions) {
    const reason = numbers.get(revision.number);
    if (reason === undefined) continue;
    for (const digest of [...artifactsOf(revision), ...(revision.build ? [revision.build.log] : [])])
      if (!reasons.has(digest)) reasons.set(digest, reason);
  }
  return reasons;
}
