import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { Digest } from '../domain/revision.ts';

/** SHA-256 of a file's bytes, read in pieces. */
export async function digestFile(path: string): Promise<Digest> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}

/** SHA-256 of a short text. */
export function digestText(text: string): Digest {
  return createHash('sha256').update(text).digest('hex');
}

export function isDigest(text: string): text is Digest {
  return /^[0-9a-f]{64}$/.test(text);
}
