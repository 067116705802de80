import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Revision } from '../../../src/domain/revision.ts';
import { historyOf } from './story.ts';
import type { Workplace } from './workplace.ts';

/**
 * Spoils a file of a revision in the store, as a bad disk does: `initrd`, or its code volume.
 * @returns the way to mend it
 */
export async function spoil(
  place: Workplace,
  revision: number,
  which: 'volume' | 'initrd',
): Promise<() => Promise<void>> {
  const { revisions } = await historyOf(place);
  const found = revisions.find(({ number }) => number === revision);
  const digest = found && digestOf(found, which);
  if (!digest) throw new Error(`revision ${revision} has no ${which}`);
  const path = join(place.state, 'artifacts', digest);
  const good = await readFile(path);
  await chmod(path, 0o644);
  await writeFile(path, Buffer.alloc(good.length, 1));
  return async () => {
    await writeFile(path, good);
    await chmod(path, 0o444);
  };
}

function digestOf({ image, volumes }: Revision, which: 'volume' | 'initrd'): string | null {
  if (which === 'volume') return volumes[0]?.digest ?? null;
  return image.kind === 'kernel' ? image.initrd : null;
}
