import type { AnalysisPolicy } from '../domain/analysis.ts';
import type { JournalEntry } from '../domain/journal.ts';
import type { Revision } from '../domain/revision.ts';
import type { Rollout } from '../domain/rollout.ts';
import type { Strategy } from '../domain/strategy.ts';
import { runRollout } from '../engine/engine.ts';
import type { Template, VirtualMachine } from '../hypervisor/port.ts';
import { templateKey } from '../hypervisor/simulated/world.ts';
import type { TableStatus } from '../proxy/port.ts';
import { simulation } from './simulation.ts';

/**
 * Runs the rollout's own engine and strategy on a model of the pool, in which nothing goes wrong, all that is measured is
 * good, and everything is promoted.
 */
export async function simulate(
  rollout: Rollout,
  strategy: Strategy,
  revisions: Revision[],
  found: { machines: VirtualMachine[]; templates: Template[]; table: TableStatus | null },
): Promise<JournalEntry[]> {
  const { clock, world, dataPlane, store, controller } = simulation({
    start: rollout.startedAt,
    revisionOf: (_service, number) => revisions.find((revision) => revision.number === number) ?? null,
    strategyOf: async () => strategy,
  });
  world.know(revisions.flatMap(({ volumes }) => volumes));
  const { machines, templates, table } = found;
  for (const machine of machines) world.adopt(machine);
  for (const template of templates) {
    const { service, revision } = template;
    const made = service === rollout.service && revisions.find(({ number }) => number === revision);
    if (made) world.keep({ ...template, key: templateKey(made) });
  }
  if (table) await dataPlane.apply(table);
  store.open({ ...rollout, policy: { ...rollout.policy, analysis: boundless(rollout.policy.analysis) } });
  clock.onMoment = () => {
    const last = store.entries.at(-1);
    if (last?.event === 'gate-reached' && last.ms === null)
      store.append(rollout, clock.now(), { event: 'ordered', how: 'promote', by: 'plan' });
  };
  await clock.until(runRollout(controller(rollout.health), rollout.id));
  return store.entries;
}

/** A model has no figures that bounds could be held against. */
function boundless(analysis: AnalysisPolicy | null): AnalysisPolicy | null {
  const none = { max: null, min: null, maxRatio: null };
  return (
    analysis && { ...analysis, metrics: analysis.metrics.map((m) => ({ ...m, pass: none, fail: none })) }
  );
}
