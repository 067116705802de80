import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import { isAlive } from '../cli/processes.ts';
import { prepare } from '../cli/revisions.ts';
import type { Workplace } from '../cli/workplace.ts';
import { failedOf, type Ledger } from '../http/load.ts';
import { eventually } from '../qemu/asking.ts';
import type { Case } from './cases.ts';
import { isReached, type Moment } from './moments.ts';
import { type Records, recordsIn } from './records.ts';
import { staffOf, strike, victimOf } from './strike.ts';
import { type Facts, untruths } from './truth.ts';

/** Longer than a rollout that takes both ways takes on a busy machine. */
const DEADLINE = 120_000;
/** Connections of a load: what may be in flight on a process at once. */
const CONNECTIONS = 8;

/** Has one case happen at one moment of a rollout under load, and tells what was not as it must be afterwards. */
export async function attempt(place: Workplace, what: Case, moment: Moment): Promise<string[]> {
  const staff = await staffOf(place);
  const before = Object.keys(staff.guests);
  const records = recordsIn(place);
  const load = await place.load();
  let closed: Promise<Ledger> | null = null;
  const close = () => {
    closed ??= load.stop();
    return closed;
  };
  const last = records.lastRollout()?.id ?? 0;
  const cli = place.start(['rollout']);
  try {
    const journal = () => records.journal(last + 1);
    const isOver = () => journal().some(({ event }) => event === 'rollout-finished');
    await eventually('the moment comes', () => isOver() || isReached(moment, journal()), DEADLINE, 2);
    const pid = await victimOf(what, place, staff, cli, journal());
    const calm = failedOf(load.ledger);
    if (pid !== null) await strike(what, pid);
    if (what.target === 'controller' && what.blow !== 'stop') {
      await eventually('the controller has ended', () => !isAlive(staff.controller), 20_000);
      await place.serve();
    }
    if (what.target === 'data plane' && what.blow !== 'stop') {
      const isAnother = async () => {
        const next = await place.dataPlanePid().catch(() => staff.dataPlane);
        return next !== staff.dataPlane && isAlive(next);
      };
      await eventually('another data plane is there', isAnother, 30_000);
    }
    const served = load.ledger.ok;
    await eventually('clients are served', () => load.ledger.ok > served + 2 * CONNECTIONS, DEADLINE);
    const disturbed = failedOf(load.ledger);
    await eventually('the rollout ends', isOver, DEADLINE);
    await cli.outcome;
    // Of a guest that died after the last look, or hung, the supervisor has another one take the place.
    const isSettled = async () => (await place.status()).open === null;
    await eventually('no repair is under way', isSettled, DEADLINE);
    const ended = records.rollout(last + 1);
    if (!ended) throw new Error('there is no rollout');
    const ledger = await close();
    return [
      ...endingOf(what, ended),
      ...failuresOf(what, { calm, disturbed, ledger }),
      ...untruths(await factsOf(place, records, ended, before)),
      ...(await leftoversOf(place, ended)),
    ];
  } finally {
    await close();
    records.close();
  }
}

/** Configures the next rollout: other guests, or other volumes for those that run. */
export async function setOut(place: Workplace, { move }: Case, round: number): Promise<void> {
  const { strategy, change } = move;
  const records = recordsIn(place);
  const { goal } = await place.status();
  const runs = records.revision(goal.revision ?? 1);
  records.close();
  const boot = /test\.round=\d+/.exec(runs.machine.cmdline)?.[0] ?? '';
  const rollout = {
    strategy,
    parallel: 1,
    bake: '300ms',
    canary: { steps: [{ weight: '50%', pause: '300ms' }] },
    verify: '30s',
  };
  await prepare(place, `v${round}`, { boot: change === 'image' ? `test.round=${round}` : boot, rollout });
}

/** Only who touches the new revision, or says that it should go, keeps it from coming. */
function endingOf({ target, blow }: Case, { state, reason }: Rollout): string[] {
  const may: Rollout['state'][] = ['succeeded'];
  if (target === 'old' || target === 'new') may.push('rolled-back');
  if (target === 'cli' && blow === 'terminate') may.push('aborted');
  return may.includes(state) ? [] : [`it ended ${state} (${reason?.message})`];
}

/**
 * No request fails but those that were in flight on the very process that was struck, one a connection; and, where that
 * was the data plane, those that found nobody until the next one was there.
 */
function failuresOf(
  { target, blow }: Case,
  { calm, disturbed, ledger }: { calm: number; disturbed: number; ledger: Ledger },
): string[] {
  const failed = failedOf(ledger);
  const may = target === 'controller' || target === 'cli' || target === 'data plane' ? 0 : CONNECTIONS;
  const told = `${JSON.stringify(ledger.failed)} ${ledger.failures.map(({ at, cause }) => `${at} ${cause}`).join('; ')}`;
  if (calm > 0) return [`${calm} requests failed before anything was struck: ${told}`];
  if (target === 'data plane' && blow !== 'stop')
    return failed > disturbed ? [`${failed - disturbed} requests failed once it was back: ${told}`] : [];
  return failed > may ? [`${failed} requests failed, ${may} may: ${told}`] : [];
}

async function factsOf(
  place: Workplace,
  records: Records,
  rollout: Rollout,
  before: string[],
): Promise<Facts> {
  const { instances } = await place.status();
  const [table] = await embeddedDataPlane({ state: place.state }).status();
  const pids = await place.guestPids();
  const runs = (id: string) => isAlive(pids[id] ?? 0);
  const dead = instances.map(({ id }) => id).filter((id) => !runs(id));
  return {
    rollout,
    journal: records.journal(rollout.id),
    others: repairsAfter(records, rollout.id),
    before,
    running: Object.keys(pids).filter(runs),
    dead,
    serving: (table?.routes ?? [])
      .filter(({ weight }) => weight > 0)
      .map(({ instance, revision: labelled }) => {
        const it = instances.find(({ id }) => id === instance);
        const answers = it?.verified && it.health === 'healthy' && it.state === 'running';
        return { instance, labelled, serves: answers ? it.revision : null };
      }),
    hold: table === undefined || table.hold || table.held > 0,
  };
}

function repairsAfter(records: Records, rollout: number): JournalEntry[] {
  const last = records.lastRollout()?.id ?? rollout;
  const ids = Array.from({ length: last - rollout }, (_, index) => rollout + 1 + index);
  return ids.flatMap((id) => records.journal(id));
}

/** Once the supervisor has replaced what was taken after the last look, as many as there must be serve, and nothing else is there. */
async function leftoversOf(place: Workplace, ended: Rollout): Promise<string[]> {
  const { revision, replicas } = ended.state === 'succeeded' ? ended.to : ended.from;
  const isWhole = async () => {
    const { instances, open, goal } = await place.status();
    const serve = instances.filter((i) => i.weight > 0 && i.verified && i.health === 'healthy' && i.usable);
    return (
      open === null &&
      goal.revision === revision &&
      serve.length === replicas &&
      instances.length === replicas
    );
  };
  const problems: string[] = [];
  await eventually('the pool is whole', isWhole, 60_000).catch(() => problems.push('the pool is not whole'));
  await eventually('nothing but the service runs', () => strangersOf(place).length === 0, 15_000).catch(
    () => {
      problems.push(`left over: ${strangersOf(place).join('; ')}`);
    },
  );
  const guests = await place.guestPids();
  const machines = place.processes().filter(({ words }) => words[0]?.includes('qemu-system'));
  if (machines.length !== replicas || Object.keys(guests).length !== replicas)
    problems.push(`${machines.length} machines in ${Object.keys(guests).length} run directories`);
  const files = [...(await readdir(place.state)), ...(await readdir(join(place.state, 'run')))];
  const half = files.filter((name) => name.endsWith('.new') || name.endsWith('.stale'));
  return [...problems, ...half.map((name) => `${name} is left over`)];
}

/** Processes of the workplace of which there should be none, or one less. */
function strangersOf(place: Workplace): string[] {
  const sorts = place.processes().map(({ pid, words }) => {
    if (words[0]?.includes('qemu-system')) return 'machine';
    if (words.some((word) => word.endsWith('/worker.js'))) return 'worker';
    if (words.some((word) => word.endsWith('/process/main.js'))) return 'data plane';
    return words.includes('serve') ? 'controller' : `${pid} ${words.join(' ')}`;
  });
  const most: Record<string, number> = { machine: 2, worker: 2, 'data plane': 1, controller: 1 };
  const count = (sort: string) => sorts.filter((other) => other === sort).length;
  return [...new Set(sorts)].filter((sort) => count(sort) > (most[sort] ?? 0));
}
