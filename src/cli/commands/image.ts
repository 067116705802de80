import { constants, copyFile, mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { listCpio } from '../../artifact/cpio.ts';
import { digestFile } from '../../artifact/digest.ts';
import { bootFormatOf } from '../../artifact/formats.ts';
import { buildImage } from '../../artifact/image.ts';
import { loadConfig } from '../../config/load.ts';
import type { Client } from '../../daemon/client.ts';
import type { Revision } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import { printable } from '../../printable.ts';
import { suspectedIn } from '../../secrets.ts';
import { keepLog } from '../build-log.ts';
import { type Context, secrets, serviceOf, withClient } from '../context.ts';
import { findImage, type ImageFile, partsOf, withImage } from '../images.ts';
import { print } from '../print.ts';
import { table } from '../render/table.ts';
import { size } from '../render/words.ts';
import { run } from '../run.ts';

export function imageCommand(program: Command): void {
  const group = program
    .command('image')
    .description('build images, and look into those that are there and at how they were built');
  const named = '<image>';
  const forms = 'a file, REVISION, REVISION/kernel (or initrd, disk), or the beginning of a digest';

  const build = group
    .command('build')
    .description('build the image of the config, and deploy nothing')
    .option('-o, --output <folder>', 'copies of its files go there; they stay where the command made them');
  run(build, buildOnly);

  run(group.command('ls').description('list the images of all revisions, and which the store has'), list);

  const inspect = group
    .command('inspect')
    .description('tell what an image is, what it holds, and how it was built')
    .argument(named, forms);
  run(inspect, lookInto);

  const log = group
    .command('log')
    .description(
      'what the commands said that built a revision; of a build that failed, its error names the file',
    )
    .argument('[revision]', 'the newest that was built, if left out');
  run(log, showLog);

  const remove = group
    .command('rm')
    .description('remove the files of an image from the store that nothing runs and no revision is kept for')
    .argument(named, forms.replace('a file, ', ''));
  run(remove, removeUnneeded);
}

async function buildOnly(context: Context, { output }: { output?: string }): Promise<number> {
  const config = await loadConfig(context.file);
  secrets.add(...suspectedIn(config.build?.env ?? {}));
  const log = keepLog(context, { ...config, volumes: [] });
  try {
    const { files, image } = await buildImage(config, log.onLine);
    const kept = await log.ended({ image, volumes: [] });
    if (output !== undefined) await mkdir(output, { recursive: true });
    for (const { part, digest } of partsOf(image)) {
      const path = files.find((file) => file.digest === digest)?.path ?? '';
      const file = output === undefined ? path : join(output, part);
      if (output !== undefined) await copyFile(path, file, constants.COPYFILE_FICLONE);
      const { size: bytes } = await stat(file);
      const told = { part, file, digest, bytes, format: await bootFormatOf(file), log: kept?.path ?? null };
      print(
        context.json
          ? JSON.stringify(told)
          : [part, digest.slice(0, 12), size(bytes), told.format, file].join('  '),
      );
    }
    if (kept && !context.json) print(`log  ${kept.path}`);
    return 0;
  } catch (error) {
    throw log.failed(error);
  }
}

async function list(context: Context): Promise<number> {
  return await withClient(context, async (client) => {
    const revisions = await revisionsOf(context, client);
    const { kept, removed } = await client.collect(0, true);
    const reasons = new Map(kept.map(({ name, reason }) => [name, reason]));
    const bytes = new Map([...kept, ...removed].map((file) => [file.name, file.bytes]));
    const images = revisions.flatMap((revision) =>
      partsOf(revision.image).map(({ part, digest }) => ({
        ...{ in: revision.number, part, digest, bytes: bytes.get(digest) ?? null },
        ...{ stored: bytes.has(digest), kept: reasons.get(digest) ?? null, build: revision.build },
      })),
    );
    if (context.json) print(JSON.stringify(images));
    else
      print(
        table(
          ['image', 'digest', 'on disk', 'built by', 'store'],
          images.map((each) => [
            `${each.in}/${each.part}`,
            each.digest.slice(0, 12),
            each.bytes === null ? '–' : size(each.bytes),
            each.build?.command ?? '–',
            each.stored ? (each.kept ?? 'not needed') : 'gone',
          ]),
        ),
      );
    return 0;
  });
}

async function lookInto(context: Context, named: string): Promise<number> {
  return await withClient(context, async (client) => {
    const source = async () => ({ client, revisions: await revisionsOf(context, client) });
    await withImage(named, source, async (files) => {
      for (const { file, of } of files) {
        const told = await describe(file, of);
        if (context.json) {
          print(JSON.stringify(told));
          continue;
        }
        const { digest, format, bytes, build, contents } = told;
        print([of?.part ?? file, digest, format, size(bytes)].join('  '));
        if (build?.command) print(`built by: ${build.command}${declared(build.environment)}`);
        for (const { mode, user, group, path, size: its } of contents ?? [])
          print(
            `${mode}  ${user}:${group}  ${printable(path)}${mode.startsWith('-') ? `  ${size(its)}` : ''}`,
          );
      }
    });
    return 0;
  });
}

function declared(names: readonly string[]): string {
  return names.length === 0 ? '' : `, with ${names.join(', ')}`;
}

async function describe(file: string, of: ImageFile | null) {
  const [digest, { size: bytes }, format] = await Promise.all([
    digestFile(file),
    stat(file),
    bootFormatOf(file),
  ]);
  const contents = format === 'cpio' ? await listCpio(file) : null;
  const { number: revision = null, build = null } = of?.revision ?? {};
  return { part: of?.part ?? null, revision, digest, format, bytes, build, contents };
}

async function showLog(context: Context, named?: string): Promise<number> {
  return await withClient(context, async (client) => {
    const revisions = await revisionsOf(context, client);
    const { build, number } = builtRevision(revisions, named);
    const folder = await mkdtemp(join(tmpdir(), 'unideploy-log-'));
    try {
      const file = join(folder, 'log');
      await client.download(build.log, file);
      const text = await readFile(file, 'utf8');
      if (context.json) print(JSON.stringify({ revision: number, ...build, text }));
      else process.stdout.write(text);
      return 0;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

function builtRevision(revisions: readonly Revision[], named: string | undefined) {
  const found = revisions.find(({ number, build }) =>
    named === undefined ? build !== null : `${number}` === named,
  );
  if (found?.build) return { ...found, build: found.build };
  if (named !== undefined && !found)
    throw new UnideployError('UD_UNKNOWN_REVISION', `there is no revision ${named}`, 'see unideploy history');
  const which = found ? `revision ${found.number} was not` : 'no revision was';
  throw new UnideployError(
    'UD_UNKNOWN_IMAGE',
    `${which} built by a command, so there is no log`,
    'see which were: unideploy image ls',
  );
}

async function removeUnneeded(context: Context, named: string): Promise<number> {
  return await withClient(context, async (client) => {
    const files = findImage(await revisionsOf(context, client), named);
    const { kept } = await client.collect(0, true);
    const needed = files.filter(({ digest }) => kept.some(({ name }) => name === digest));
    const unneeded = files.filter((file) => !needed.includes(file));
    // Where nothing can go, the refusal says why.
    for (const { digest } of unneeded.length > 0 ? unneeded : files) await client.removeArtifact(digest);
    const removed = unneeded.map(({ digest }) => digest);
    if (context.json) print(JSON.stringify({ removed, kept: needed.map(({ digest }) => digest) }));
    else {
      for (const digest of removed) print(`removed ${digest.slice(0, 12)}`);
      for (const { digest, part } of needed)
        print(`${part} ${digest.slice(0, 12)} stays: ${kept.find(({ name }) => name === digest)?.reason}`);
    }
    return 0;
  });
}

async function revisionsOf(context: Context, client: Client): Promise<Revision[]> {
  return (await client.history(await serviceOf(context, client))).revisions;
}
