import { artifactsOf, type Digest, type Revision } from './revision.ts';

/** What is known of one service when it is asked which artifacts it needs. */
export interface Holdings {
  /** newest first */
  revisions: Revision[];
  /** stable revisions whose artifacts are kept, to go back to */
  keep: number;
  /** the revision that its last rollout reached; null: none */
  goal: number | null;
  /** revisions that the rollout under way moves between */
  moving: number[];
}

/** The artifacts that must stay for a service, each with the reason that people are told. */
export function needed({ revisions, keep, goal, moving }: Holdings): Map<Digest, string> {
  const stable = revisions.filter(({ stableAt }) => stableAt !== null).slice(0, keep);
  const reasonOf = (revision: Revision): string | null => {
    const { number, pinned } = revision;
    if (number === goal) return 'served';
    if (moving.includes(number)) return 'of the rollout under way';
    if (pinned) return `pinned by ${pinned.by}`;
    return stable.includes(revision) ? 'stable' : null;
  };
  const reasons = new Map<Digest, string>();
  for (const revision of revisions) {
    const reason = reasonOf(revision);
    if (reason === null) continue;
    for (const digest of [...artifactsOf(revision), ...(revision.build ? [revision.build.log] : [])])
      if (!reasons.has(digest)) reasons.set(digest, `${revision.service} ${revision.number}: ${reason}`);
  }
  return reasons;
}
