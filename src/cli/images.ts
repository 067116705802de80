import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../daemon/client.ts';
import type { Digest, Image, Revision } from '../domain/revision.ts';
import { UnideployError } from '../errors.ts';

export type Part = 'kernel' | 'initrd' | 'disk';

/** A file that guests of a revision boot. */
export interface ImageFile {
  /** the newest revision that has it */
  revision: Revision;
  part: Part;
  digest: Digest;
}

/** The files of an image, in the order in which they are booted. */
export function partsOf(image: Image): { part: Part; digest: Digest }[] {
  if (image.kind === 'disk') return [{ part: 'disk', digest: image.disk }];
  const initrd = image.initrd === null ? [] : [{ part: 'initrd' as const, digest: image.initrd }];
  return [{ part: 'kernel', digest: image.kernel }, ...initrd];
}

/** Finds what a person names: all files of `REVISION`, one of `REVISION/PART`, or one by the beginning of its digest. */
export function findImage(revisions: readonly Revision[], named: string): ImageFile[] {
  const all = revisions.flatMap((revision) =>
    partsOf(revision.image).map((file): ImageFile => ({ revision, ...file })),
  );
  const [, number, part] = /^(\d{1,9})(?:\/(\w+))?$/.exec(named) ?? [];
  const ofRevision = all.filter(
    (file) => file.revision.number === Number(number) && (part === undefined || file.part === part),
  );
  if (ofRevision.length > 0) return ofRevision;
  const beginning = /^[0-9a-f]{8,64}$/.test(named);
  const found = beginning ? all.filter(({ digest }) => digest.startsWith(named)) : [];
  const [file] = found;
  if (file && new Set(found.map(({ digest }) => digest)).size === 1) return [file];
  const message = file
    ? `"${named}" may be any of: ${[...new Set(found.map(({ digest }) => digest))].join(', ')}`
    : `"${named}" is no file, and no image of any revision`;
  throw new UnideployError(
    'UD_UNKNOWN_IMAGE',
    message,
    'name REVISION, REVISION/kernel or the beginning of a digest: unideploy image ls',
  );
}

/** Has the bytes of what a person names here, while `use` runs; a file of the user's needs no controller. */
export async function withImage<T>(
  named: string,
  source: () => Promise<{ client: Client; revisions: Revision[] }>,
  use: (files: { file: string; of: ImageFile | null }[]) => Promise<T>,
): Promise<T> {
  if (existsSync(named)) return await use([{ file: named, of: null }]);
  const { client, revisions } = await source();
  const found = findImage(revisions, named);
  const folder = await mkdtemp(join(tmpdir(), 'unideploy-image-'));
  try {
    for (const { part, digest } of found) await client.download(digest, join(folder, part));
    return await use(found.map((of) => ({ file: join(folder, of.part), of })));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
