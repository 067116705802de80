import type { Goal, Rollout } from '../domain/rollout.ts';
import { DEFAULT_TRAFFIC } from '../domain/traffic.ts';
import type { RoutingTable } from '../proxy/port.ts';
import type { Service } from './port.ts';

/** What stores of earlier versions did not say yet, filled in with what was so then. */

export function readService(service: Service): Service {
  return { ...service, goal: readGoal(service.goal) };
}

export function readRollout(rollout: Rollout): Rollout {
  return { ...rollout, from: readGoal(rollout.from), to: readGoal(rollout.to) };
}

export function readTable(table: RoutingTable): RoutingTable {
  return { ...table, preview: table.preview ?? null, traffic: { ...DEFAULT_TRAFFIC, ...table.traffic } };
}

function readGoal(goal: Goal): Goal {
  return { ...goal, traffic: { ...DEFAULT_TRAFFIC, ...goal.traffic } };
}
