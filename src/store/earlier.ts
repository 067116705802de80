import { NO_GATES, type RolloutPolicy } from '../domain/policy.ts';
import type { Revision } from '../domain/revision.ts';
import { type Goal, type Rollout, underWay } from '../domain/rollout.ts';
import { DEFAULT_SUPERVISION } from '../domain/supervision.ts';
import { DEFAULT_TRAFFIC, type TrafficPolicy } from '../domain/traffic.ts';
import type { RoutingTable } from '../proxy/port.ts';
import type { Service } from './port.ts';

/** What stores of earlier versions did not say yet, filled in with what was so then. */

const NOTHING_ORDERED = { renew: null, among: [], ending: null, heard: 0, sick: [], restore: null };

const SUPERVISED = { supervision: DEFAULT_SUPERVISION };

/** Nobody knew how a revision had been made. */
export function readRevision(revision: Revision): Revision {
  return { ...revision, build: revision.build ?? null };
}

export function readService(service: Service): Service {
  return {
    ...SUPERVISED,
    ...service,
    gaveUp: service.gaveUp ?? null,
    goal: readGoal(service.goal),
    policy: readPolicy(service.policy),
    warm: service.warm ?? null,
  };
}

export function readRollout(rollout: Rollout): Rollout {
  return {
    ...NOTHING_ORDERED,
    ...SUPERVISED,
    ...underWay(rollout.since),
    ...rollout,
    from: readGoal(rollout.from),
    to: readGoal(rollout.to),
    policy: readPolicy(rollout.policy),
  };
}

export function readTable(table: RoutingTable): RoutingTable {
  return { ...table, preview: table.preview ?? null, traffic: readTraffic(table.traffic) };
}

function readGoal(goal: Goal): Goal {
  return { ...goal, traffic: readTraffic(goal.traffic) };
}

/** Clients stayed with a revision for as long as it took new requests, and no longer. */
function readTraffic(traffic: TrafficPolicy): TrafficPolicy {
  const known = { ...DEFAULT_TRAFFIC, ...traffic };
  return { ...known, sticky: known.sticky && { ...known.sticky, pages: known.sticky.pages ?? 0 } };
}

/** Only the whole rollout had a deadline then, and nothing was ever collected. */
function readPolicy(policy: RolloutPolicy): RolloutPolicy {
  const before = { ...NO_GATES, keep: 10, progressDeadline: policy.deadline };
  return { ...before, ...policy };
}
