import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { Digest } from '../domain/revision.ts';

const ZEROS = Buffer.alloc(1 << 18);

/** Writes a stream to a new file, flushed to the disk, and returns the digest of its bytes. */
export async function writeHashed(stream: Readable, path: string): Promise<Digest> {
  const hash = createHash('sha256');
  const file = await open(path, 'wx', 0o600);
  try {
    let size = 0;
    for await (const chunk of stream) {
      hash.update(chunk);
      await writeUnlessZero(file, chunk, size);
      size += chunk.length;
    }
    await file.truncate(size);
    await file.sync();
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

/** Disk images are mostly nothing; a hole reads as zeros and costs no disk. */
async function writeUnlessZero(file: FileHandle, chunk: Buffer, position: number): Promise<void> {
  if (chunk.length <= ZEROS.length && ZEROS.compare(chunk, 0, chunk.length, 0, chunk.length) === 0) return;
  let done = 0;
  while (done < chunk.length) {
    const { bytesWritten } = await file.write(chunk, done, chunk.length - done, position + done);
    done += bytesWritten;
  }
}
