import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { digestFile } from '../../artifact/digest.ts';
import { size as sizeFrom } from '../../config/scalars.ts';
import type { Client } from '../../daemon/client.ts';
import type { DataCopy } from '../../domain/data-copy.ts';
import { UnideployError } from '../../errors.ts';
import { notSaid } from '../arguments.ts';
import { type Context, serviceOf, withClient } from '../context.ts';
import { followJob } from '../job.ts';
import { print } from '../print.ts';
import { table } from '../render/table.ts';
import { size } from '../render/words.ts';
import { run } from '../run.ts';

interface CopyOptions {
  full?: true;
  rate?: number;
  output?: string;
}

/** The verbs for copies of the disks that instances write to. */
export function volumeCopyCommands(group: Command): void {
  const named = '<name>';
  const which = 'name of a data volume of the service';
  const one = 'one of unideploy volume copies';

  const copy = group
    .command('copy')
    .description('copy a data volume as it is at one moment, while its instance goes on writing')
    .argument(named, which)
    .option('--full', 'read all of it, not only what has changed since the last copy')
    .option('--rate <bytes>', 'read at most so much a second, such as 20M', toRate)
    .option('-o, --output <file>', 'write the copy into this file, too: a qcow2 image');
  run(copy, copyVolume);

  const copies = group.command('copies').description('list the copies of the data volumes, the newest last');
  run(copies, (context) =>
    withClient(context, async (client) => {
      const found = await client.dataCopies(await serviceOf(context, client));
      print(context.json ? JSON.stringify(found) : copiesTable(found));
      return 0;
    }),
  );

  const fetchCopy = group
    .command('fetch')
    .description('write a copy of a data volume into a file: a qcow2 image')
    .argument(named, which)
    .argument('<copy>', one)
    .argument('<file>', 'which is not there yet');
  run(fetchCopy, (context, name: string, id: string, file: string) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      const found = (await client.dataCopies(service)).find((each) => each.volume === name && each.id === id);
      if (!found)
        throw new UnideployError(
          'UD_UNKNOWN_COPY',
          `data volume ${name} of ${service} has no copy ${id}`,
          'list those there are: unideploy volume copies',
        );
      await writeCopy(client, found, file);
      print(context.json ? JSON.stringify({ file, digest: found.digest }) : `wrote ${file}`);
      return 0;
    }),
  );

  const restore = group
    .command('restore')
    .description('put a copy in the place of a data volume that no instance has')
    .argument(named, which)
    .argument('<copy>', one)
    .option('--yes', 'really: what the volume has now goes aside');
  run(restore, (context, name: string, id: string, { yes = false }: { yes?: boolean }) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      if (!yes) throw notSaid(`${name} of ${service} would be what it was in copy ${id}`);
      await client.restoreData(service, name, id, context.performer);
      print(context.json ? JSON.stringify({ restored: id }) : `${name} is again what it was in copy ${id}`);
      return 0;
    }),
  );

  const remove = group
    .command('rm-copy')
    .description('remove a copy of a data volume; no other copy needs it')
    .argument(named, which)
    .argument('<copy>', one);
  run(remove, (context, name: string, id: string) =>
    withClient(context, async (client) => {
      await client.removeCopy(await serviceOf(context, client), name, id, context.performer);
      print(context.json ? JSON.stringify({ removed: id }) : `removed copy ${id} of ${name}`);
      return 0;
    }),
  );
}

async function copyVolume(context: Context, name: string, options: CopyOptions): Promise<number> {
  const { full = false, rate = 0, output } = options;
  if (output !== undefined && existsSync(output)) throw isThere(output);
  const service = await withClient(context, (client) => serviceOf(context, client));
  const copy = await followJob(context, `copy of ${name}`, async (client, following) => {
    const made = await client.copyData(
      service,
      name,
      { full, rate, performer: context.performer },
      following,
    );
    if (output !== undefined) await writeCopy(client, made, output);
    return made;
  });
  if (typeof copy.still === 'string') context.renderer.note(`its guest did not hold still: ${copy.still}`);
  print(context.json ? JSON.stringify({ copy, file: output ?? null }) : told(copy, output));
  return 0;
}

function told({ id, volume, on, why, copied, bytes, still }: DataCopy, output: string | undefined): string {
  const how = on === null ? `whole: ${why}` : `of ${on} and what has changed since`;
  const settled = still === true ? 'the guest held still' : 'as after a loss of power';
  const where = output === undefined ? '' : `; written to ${output}`;
  return `copied ${volume} as ${id} (${how}; ${size(copied)} read, ${size(bytes)} on disk; ${settled})${where}`;
}

/** Nothing else than the bytes that were copied is left in the file. */
async function writeCopy(client: Client, copy: DataCopy, file: string): Promise<void> {
  if (existsSync(file)) throw isThere(file);
  try {
    await client.downloadCopy(copy, file);
    if ((await digestFile(file)) === copy.digest) return;
    throw new UnideployError(
      'UD_COPY_FAILED',
      `copy ${copy.id} is not what it was when it was made`,
      'use another one: unideploy volume copies',
    );
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
}

function copiesTable(copies: DataCopy[]): string {
  return table(
    ['data volume', 'copy', 'of', 'size', 'on disk', 'made', 'guest', 'digest'],
    copies.map(({ volume, id, instance, revision, size: whole, bytes, copied, on, still, digest }) => [
      ...[volume, id, instance === null ? 'nobody' : `${instance}, revision ${revision}`],
      ...[size(whole), size(bytes), on === null ? 'whole' : `of ${on} and ${size(copied)}`],
      ...[still === true ? 'held still' : still === null ? '–' : 'did not hold still', digest.slice(0, 12)],
    ]),
  );
}

function isThere(file: string): UnideployError {
  return new UnideployError('UD_FILE_EXISTS', `${file} is there already`, 'name another file, or remove it');
}

/** Slower than that a copy of any size takes days. */
function toRate(text: string): number {
  const read = sizeFrom('64K', '1024G').safeParse(text);
  if (read.success) return read.data;
  throw new InvalidArgumentError('expected bytes a second, from 64K on, such as 20M');
}
