import { copyFile, rm, stat, truncate } from 'node:fs/promises';

/** Bytes that a log may grow to before the older part of it moves to `<file>.1`, which is one log long at most. */
const LOG_LIMIT = 16 << 20;

/**
 * Moves what a log has to `<file>.1` and empties it, once it is longer than `limit` bytes. The file stays the same one:
 * whoever has it open for appending goes on writing to it, and lines that are written in this moment may be lost.
 * Where there is no room for the copy the log is emptied all the same. Returns whether it was too long.
 */
export async function boundLog(file: string, limit = LOG_LIMIT): Promise<boolean> {
  const { size } = await stat(file).catch(() => ({ size: 0 }));
  if (size <= limit) return false;
  const older = `${file}.1`;
  await copyFile(file, older).catch(() => rm(older, { force: true }));
  await truncate(file);
  return true;
}
