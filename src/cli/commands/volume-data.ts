import { type Command, InvalidArgumentError } from 'commander';
import { size as sizeFrom } from '../../config/scalars.ts';
import type { Client } from '../../daemon/client.ts';
import { UnideployError } from '../../errors.ts';
import type { DataVolumeState } from '../../hypervisor/port.ts';
import { notSaid } from '../arguments.ts';
import { begin } from '../begin.ts';
import { type Context, serviceOf, withClient } from '../context.ts';
import { runMove } from '../move.ts';
import { startingOptions } from '../patience.ts';
import { print } from '../print.ts';
import { table } from '../render/table.ts';
import { size } from '../render/words.ts';
import { run } from '../run.ts';

/** The verbs for disks that instances write to. */
export function dataVolumeCommands(group: Command): void {
  const named = '<name>';
  const which = 'name of a data volume of the service';

  const snapshot = group
    .command('snapshot')
    .description('keep the state that a data volume has now, or forget one that is kept')
    .argument(named, which)
    .option('--as <snapshot>', 'what it is called; the time if left out', toName)
    .option('--forget <snapshot>', 'forget that one instead', toName);
  run(snapshot, (context, name: string, options: { as?: string; forget?: string }) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      if (options.forget !== undefined) {
        await client.forgetData(service, name, options.forget, context.performer);
        print(context.json ? JSON.stringify({ forgotten: options.forget }) : `forgot ${options.forget}`);
        return 0;
      }
      const kept = await client.snapshotData(service, name, options.as ?? null, context.performer);
      if (typeof kept.still === 'string')
        context.renderer.note(`its guest did not hold still: ${kept.still}`);
      print(context.json ? JSON.stringify(kept) : `kept ${name} as ${kept.snapshot.name}`);
      return 0;
    }),
  );

  const snapshots = group
    .command('snapshots')
    .description('list the states that are kept of a data volume, the newest last')
    .argument(named, which);
  run(snapshots, (context, name: string) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      const found = (await dataVolumesOf(client, service)).find((volume) => volume.name === name);
      if (!found)
        throw new UnideployError(
          'UD_UNKNOWN_VOLUME',
          `${service} has no data volume ${name}`,
          `list those there are: unideploy volume ls --service ${service}`,
        );
      if (context.json) print(JSON.stringify(found.snapshots));
      else
        print(
          table(
            ['snapshot', 'taken'],
            found.snapshots.map((each) => [each.name, moment(each.at)]),
          ),
        );
      return 0;
    }),
  );

  const revert = group
    .command('revert')
    .description(
      'make a data volume what it was at a snapshot: its instance goes and comes again, requests wait; what it is now is kept, too',
    )
    .argument(named, which)
    .argument('<snapshot>', 'one of unideploy volume snapshots')
    .option('--yes', 'really: what was written since is not there any more');
  startingOptions(revert, 'abort');
  runMove(revert, async (move, name: string, to: string, { yes = false }: { yes?: boolean }) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    if (!yes)
      throw notSaid(`what was written to ${name} of ${service} after ${to} would not be there any more`);
    return await begin(move, service, async () => {
      const answer = await client.revertData(service, name, to, context.performer);
      if (answer.kind !== 'reverted') return answer;
      context.renderer.note(
        `${name} is again what it was at ${to}; what it was until now is kept as ${answer.aside}`,
      );
      // No instance has the disk, so none was touched.
      return { kind: 'unchanged', service, revision: null };
    });
  });

  const grow = group
    .command('grow')
    .description('make a data volume larger, while it is used or not; the config is to say so, too')
    .argument(named, which)
    .argument('<size>', 'such as 512M or 4G', toSize);
  run(grow, (context, name: string, bytes: number) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      await client.growData(service, name, bytes, context.performer);
      print(context.json ? JSON.stringify({ name, size: bytes }) : `${name} has ${size(bytes)}`);
      return 0;
    }),
  );
}

/** Removes a data volume, by an explicit word. */
export async function removeData(context: Context, name: string, yes: boolean): Promise<number> {
  return await withClient(context, async (client) => {
    const service = await serviceOf(context, client);
    if (!yes) throw notSaid(`data volume ${name} of ${service} and all its snapshots would be gone for good`);
    await client.removeData(service, name, context.performer);
    print(context.json ? JSON.stringify({ removed: name }) : `removed ${name} and all its snapshots`);
    return 0;
  });
}

export async function dataVolumesOf(client: Client, service: string): Promise<DataVolumeState[]> {
  return (await client.dataVolumes()).filter((volume) => volume.service === service);
}

/** Data volumes as people read them. */
export function dataTable(volumes: DataVolumeState[]): string {
  return table(
    ['data volume', 'size', 'used', 'attached to', 'snapshots'],
    volumes.map(({ name, size: bytes, used, attachedTo, snapshots, damaged }) => [
      name,
      damaged ? 'damaged' : size(bytes),
      size(used),
      attachedTo ?? 'nobody',
      snapshots.length === 0 ? '–' : `${snapshots.length}, the last ${snapshots.at(-1)?.name}`,
    ]),
  );
}

function moment(at: number): string {
  return new Date(at).toISOString();
}

function toName(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text)) return text;
  throw new InvalidArgumentError('expected letters, digits, ".", "_" and "-"');
}

function toSize(text: string): number {
  const read = sizeFrom('16M', '16384G').safeParse(text);
  if (read.success) return read.data;
  throw new InvalidArgumentError('expected a size from 16M to 16384G');
}
