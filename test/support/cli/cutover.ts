import type { History } from '../../../src/daemon/client.ts';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import { type Ledger, startLoad } from '../http/load.ts';
import { eventually } from '../qemu/asking.ts';
import type { Workplace } from './workplace.ts';

/** How all requests of 64 connections went from one revision to another. */
export interface Cutover {
  /** milliseconds from the order (promote, rollback), as the journal has it, to the last request that the revision before got */
  last: number;
  /** from when the engine decided to shift, which is later than the order by one look at the pool */
  decided: number;
  /** milliseconds of the table's change alone */
  shift: number;
}

const CONNECTIONS = 64;
const RATE = 300;

/** A whole green pool beside the blue one, promoted, and rolled back to the blue one that is still warm. */
export async function cutThereAndBack(
  place: Workplace,
): Promise<{ there: Cutover; back: Cutover; ledger: Ledger }> {
  const rollout = { strategy: 'blue-green', promotion: 'manual', warm: '10m', stop: '2s' };
  await place.configure({ rollout });
  await expectExit(place, ['up'], 0);
  const { listen } = await place.status();
  const answers: { at: number; revision: string }[] = [];
  const load = startLoad({
    url: `http://${listen?.host}:${listen?.port}/`,
    connections: CONNECTIONS,
    rate: RATE,
    check: ({ sentAt, status, headers }) => {
      answers.push({ at: sentAt, revision: String(headers['x-unideploy-revision']) });
      return status === 200 ? undefined : `status ${status}`;
    },
  });
  const steady = async () => {
    const enough = load.ledger.ok + RATE;
    await eventually('a second of answers', () => load.ledger.ok >= enough, 30_000);
  };
  const moved = async (what: string[], order: JournalEntry['event']): Promise<Cutover> => {
    await steady();
    answers.length = 0;
    const done = expectExit(place, what, 0);
    await eventually(
      'both revisions answered',
      () => new Set(answers.map((a) => a.revision)).size > 1,
      60_000,
    );
    await done;
    await steady();
    return measure(answers, await journal(place), order);
  };

  await place.configure({ rollout, guest: { cmdline: 'cutover=green' } });
  await place.publish('<h1>green</h1>\n');
  await expectExit(place, ['rollout'], 6);
  const there = await moved(['promote'], 'ordered');
  const back = await moved(['rollback'], 'rollout-started');
  return { there, back, ledger: await load.stop() };
}

function measure(
  answers: { at: number; revision: string }[],
  entries: JournalEntry[],
  order: JournalEntry['event'],
): Cutover {
  const before = answers[0]?.revision;
  const last = Math.max(...answers.filter(({ revision }) => revision === before).map(({ at }) => at));
  const ordered = entries.find(({ event }) => event === order)?.at ?? Number.NaN;
  const began = entries.find((entry) => entry.event === 'action-started' && entry.action.kind === 'shift');
  const shift = entries.find((entry) => entry.event === 'action-finished' && entry.action.kind === 'shift');
  return {
    last: last - ordered,
    decided: last - (began?.at ?? Number.NaN),
    shift: shift?.event === 'action-finished' ? shift.ms : Number.NaN,
  };
}

/** Of the last rollout. */
async function journal(place: Workplace): Promise<JournalEntry[]> {
  const { rollouts } = JSON.parse((await place.cli(['history', '--json'])).stdout) as History;
  const { lines } = await place.cli(['audit', '--json']);
  return (lines as JournalEntry[]).filter(({ rollout }) => rollout === rollouts[0]?.id);
}

async function expectExit(place: Workplace, args: string[], code: number): Promise<void> {
  const { exitCode, stderr } = await place.cli(args);
  if (exitCode !== code) throw new Error(`unideploy ${args.join(' ')} ended with ${exitCode}: ${stderr}`);
}
