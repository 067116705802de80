import type { Happening, JournalEntry, OrderEntry } from '../domain/journal.ts';
import type { HealthPolicy, RolloutPolicy } from '../domain/policy.ts';
import type { GaveUp } from '../domain/restraint.ts';
import type { Pin, Revision, RevisionSpec } from '../domain/revision.ts';
import type { Goal, Rollout } from '../domain/rollout.ts';
import type { SupervisionPolicy } from '../domain/supervision.ts';
import type { RoutingTable } from '../proxy/port.ts';
import type { Lesson } from './rebuild.ts';

/** What a service was last told to be. */
export interface Service {
  name: string;
  /** the last goal that a rollout reached */
  goal: Goal;
  policy: RolloutPolicy;
  health: HealthPolicy;
  supervision: SupervisionPolicy;
  /** why it is repaired no more, until a person has begun a rollout; null: it is */
  gaveUp: GaveUp | null;
  /** the instances that the last rollout has left without traffic, to go back to quickly, are kept so long; null: none */
  warm: Warm | null;
}

export type Left = 'nothing' | 'warm' | 'pool';

interface Warm {
  rollout: number;
  /** epoch milliseconds */
  until: number;
}

export type NewRevision = RevisionSpec &
  Pick<Revision, 'service' | 'createdAt' | 'createdBy' | 'gitCommit' | 'build'>;
export type NewRollout = Omit<Rollout, 'id'>;

/** Something that is to be an entry of the journal. */
export interface Happened {
  /** epoch milliseconds */
  at: number;
  happening: Happening;
}

/** What the engine needs of the store to bring one rollout to its end. */
export interface RolloutStore {
  revision(service: string, number: number): Revision | null;
  rollout(id: number): Rollout | null;
  updateRollout(rollout: Rollout): void;
  /** what people have told the rollout after position `after` of the journal, oldest first */
  orders(rollout: number, after: number): OrderEntry[];
  append(rollout: Pick<Rollout, 'id' | 'service'>, at: number, happening: Happening): JournalEntry;
  /** What the rollout is from now on and the entries that say so: all, or nothing. */
  record(rollout: Rollout, happened: Happened[]): void;
  /**
   * Ends a rollout with its last journal entry; one that succeeded makes its goal the service's, and its revision stable.
   * A goal of no instance is the end of the service.
   *
   * @param left what stays besides the goal's instances. `warm`: some without traffic, for as long as the policy keeps
   *   them warm; `pool`: whatever there is, until a person or the next rollout decides; `nothing`: no more than the goal
   */
  closeRollout(rollout: Rollout, happening: Happening, left: Left): void;
  removeService(name: string): void;

  /** The last table given to the data plane, to give again to a new one. */
  table(service: string): RoutingTable | null;
  putTable(table: RoutingTable): void;
}

/** The state that outlives a controller. Every call is one transaction. */
export interface Store extends RolloutStore {
  services(): Service[];
  service(name: string): Service | null;
  putService(service: Service): void;

  addRevision(revision: NewRevision): Revision;
  /** newest first */
  revisions(service: string): Revision[];
  /** names of all services that ever had a revision */
  owners(): string[];
  /** Has a revision's artifacts kept whatever the policy says; null: no more. */
  pin(service: string, number: number, pin: Pin | null): void;

  /** Adds an open rollout, with its first journal entry. Throws UD_LOCKED when the service has one open already. */
  openRollout(rollout: NewRollout): Rollout;
  /** newest first */
  rollouts(service: string, limit: number): Rollout[];
  openRollouts(): Rollout[];
  /** entries of a rollout after position `after`, oldest first */
  journal(rollout: number, after: number): JournalEntry[];
  /** the last entries of all rollouts of a service, oldest first */
  audit(service: string, limit: number): JournalEntry[];

  /** the highest number that a rollout ever had; 0: there was none */
  lastRollout(): number;
  /** Takes in what the store does not know. What it knows already stays: a number once given is never given again. */
  learn(lesson: Lesson, at: number): void;
  /** Makes the file a verified copy of all this, whole or not at all: the copy before it stays until then. */
  copyTo(file: string): void;

  close(): void;
}
