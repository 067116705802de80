import type { Command } from 'commander';
import type { ListedSnapshot } from '../../daemon/messages.ts';
import { begin } from '../begin.ts';
import { type Context, serviceOf, withClient } from '../context.ts';
import { followJob } from '../job.ts';
import { runMove } from '../move.ts';
import { startingOptions } from '../patience.ts';
import { print } from '../print.ts';
import { table } from '../render/table.ts';
import { seconds, size } from '../render/words.ts';
import { run } from '../run.ts';

export function snapshotCommand(program: Command): void {
  const group = program
    .command('snapshot')
    .description('whole instances as they were: disk, and memory where it can be taken');

  const create = group
    .command('create')
    .description('save an instance while it serves; it stands still for as short a time as possible')
    .argument('[instance]', 'as in: unideploy status; without it, the only one that there is')
    .option('--disk-only', 'without its memory: restored, it boots from the disk as it was');
  run(create, take);

  run(group.command('ls').description('list the snapshots of the service'), list);

  const restore = group
    .command('restore')
    .description(
      'put an instance into the pool that goes on from a snapshot, in the place of the one that was saved',
    )
    .argument('<snapshot>', 'as in: unideploy snapshot ls')
    .option('--replace <instance>', 'the instance whose place it takes');
  startingOptions(restore, 'abort');
  runMove(restore, async (move, snapshot: string, { replace }: { replace?: string }) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    const ask = () => client.restore(service, snapshot, replace ?? null, context.performer);
    return await begin(move, service, ask);
  });

  const remove = group
    .command('rm')
    .description('remove snapshots')
    .argument('<snapshots...>', 'as in: unideploy snapshot ls');
  run(remove, (context, snapshots: string[]) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      for (const snapshot of snapshots) {
        await client.removeSnapshot(service, snapshot);
        print(context.json ? JSON.stringify({ removed: snapshot }) : `removed ${snapshot}`);
      }
      return 0;
    }),
  );
}

async function take(
  context: Context,
  instance: string | undefined,
  { diskOnly }: { diskOnly?: true },
): Promise<number> {
  const taken = await followJob(
    context,
    `snapshot of ${instance ?? 'the instance'}`,
    async (client, following) => {
      const service = await serviceOf(context, client);
      const order = { instance: instance ?? null, memory: diskOnly !== true, performer: context.performer };
      return await client.takeSnapshot(service, order, following);
    },
  );
  const { id, bytes, pausedMs } = taken;
  const line = `${id}: ${what(taken)}, ${size(bytes)}; the guest stood still for ${seconds(pausedMs)}`;
  print(context.json ? JSON.stringify(taken) : line);
  return 0;
}

async function list(context: Context): Promise<number> {
  return await withClient(context, async (client) => {
    const snapshots = await client.snapshots(await serviceOf(context, client));
    const head = ['snapshot', 'instance', 'revision', 'of', 'size', 'age', 'by'];
    print(context.json ? JSON.stringify(snapshots) : table(head, snapshots.map(row)));
    return 0;
  });
}

function row(listed: ListedSnapshot): (string | number)[] {
  if (listed.damaged) return [listed.id, '–', '–', 'damaged', '–', '–', '–'];
  const { id, instance, revision, bytes, createdAt, createdBy } = listed;
  return [id, instance, revision, what(listed), size(bytes), age(Date.now() - createdAt), createdBy];
}

function what({ disk, memory }: { disk: boolean; memory: boolean }): string {
  return [...(disk ? ['disk'] : []), ...(memory ? ['memory'] : [])].join(' and ');
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
] as const;

/** The greatest unit is enough for people: `3 d`, `12 min`. */
function age(ms: number): string {
  const [unit, length] = UNITS.find(([, each]) => ms >= each) ?? ['s', 1000];
  return `${Math.max(0, Math.floor(ms / length))} ${unit}`;
}
