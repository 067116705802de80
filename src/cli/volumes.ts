import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatOf } from '../artifact/formats.ts';
import type { Client } from '../daemon/client.ts';
import type { CodeVolume, Revision, VolumeFormat } from '../domain/revision.ts';
import { UnideployError } from '../errors.ts';

/** A volume as a person names it: a file, `REVISION`, `REVISION/NAME`, or the beginning of a digest. */
export interface NamedVolume {
  /** null: a file of the user's */
  volume: CodeVolume | null;
  format: VolumeFormat;
  /** where its bytes are for as long as `use` runs */
  file: string;
}

/** Finds a volume among the revisions, the newest first. @throws UD_UNKNOWN_VOLUME */
export function findVolume(revisions: readonly Revision[], named: string): CodeVolume {
  const [, number, name] = /^(\d{1,9})(?:\/(.+))?$/.exec(named) ?? [];
  const revision = revisions.find((each) => each.number === Number(number));
  const found = revision
    ? revision.volumes.filter((each) => name === undefined || each.name === name)
    : revisions.flatMap(({ volumes }) => volumes).filter(({ digest }) => isBeginning(named, digest));
  const digests = new Set(found.map(({ digest }) => digest));
  const [volume] = found;
  if (volume && digests.size === 1) return volume;
  const message =
    digests.size > 1
      ? `"${named}" may be any of: ${found.map((each) => `${each.name} ${each.digest.slice(0, 12)}`).join(', ')}`
      : `"${named}" is no file, and no volume of any revision`;
  throw new UnideployError(
    'UD_UNKNOWN_VOLUME',
    message,
    'name a file, REVISION/NAME or the beginning of a digest: unideploy volume ls',
  );
}

function isBeginning(named: string, digest: string): boolean {
  return /^[0-9a-f]{8,64}$/.test(named) && digest.startsWith(named);
}

/** Has the bytes of a volume here, while `use` runs. */
export async function withVolume<T>(
  named: string,
  source: () => Promise<{ client: Client; revisions: Revision[] }>,
  use: (volume: NamedVolume) => Promise<T>,
): Promise<T> {
  if (existsSync(named)) {
    const format = await formatOf(named);
    return await use({
      volume: null,
      format: format === null || format === 'qcow2' ? 'raw' : format,
      file: named,
    });
  }
  const { client, revisions } = await source();
  const volume = findVolume(revisions, named);
  const folder = await mkdtemp(join(tmpdir(), 'unideploy-volume-'));
  try {
    const file = join(folder, volume.name);
    await client.download(volume.digest, file);
    return await use({ volume, format: volume.format, file });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
