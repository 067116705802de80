import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import type { Workplace } from '../../test/support/cli/workplace.ts';

/** SHA-256 by path of every file of the project's volume, as its source folder has them. */
export async function sourceDigests({ project }: Workplace): Promise<Record<string, string>> {
  const folder = join(project, 'public');
  const names = (await readdir(folder)).sort();
  const read = async (name: string) => [name, digest(await readFile(join(folder, name)))] as const;
  return Object.fromEntries(await Promise.all(names.map(read)));
}

/** Guests, past the data plane, whose own answers have other digests than these. */
export async function differing(place: Workplace, wanted: Record<string, string>): Promise<string[]> {
  const { instances } = await place.status();
  const wrong: string[] = [];
  for (const { id, endpoint } of instances)
    for (const [name, known] of Object.entries(wanted)) {
      const { body } = await request(`http://${endpoint?.host}:${endpoint?.port}/${name}`);
      if (digest(Buffer.from(await body.arrayBuffer())) !== known) wrong.push(`${id} /${name}`);
    }
  return wrong;
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
