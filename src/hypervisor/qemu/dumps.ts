import { lstat, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import type { Machine } from './machine.ts';
import { dumpMemory } from './qmp/commands.ts';
import { livingPid } from './run-directory.ts';

/** Milliseconds that QEMU has for each GiB, and for any file at all. */
const MS_PER_GIB = 20_000;
const LEAST_MS = 5_000;

/**
 * Writes the memory of a machine that runs to `<state>/dumps/<id>.elf`, and takes the oldest of such files away until they are
 * no more than `limit` MiB. QEMU writes into its run directory, for it may reach nothing else.
 */
export async function dumpMachine(machine: Machine, state: string, limit: number): Promise<string | null> {
  const { directory, spec } = machine;
  const { memory } = spec.machine;
  if (memory > limit || livingPid(directory) === null) return null;
  const folder = join(resolve(state), 'dumps');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await makeRoom(folder, limit - memory);
  const session = await machine.connect(2_000);
  try {
    // By the name that it has for a QEMU that runs there, and may not look into the folders above.
    const name = relative(directory.path, directory.memory);
    await dumpMemory(session, name, LEAST_MS + (memory / 1024) * MS_PER_GIB);
    if (!(await lstat(directory.memory)).isFile()) return null;
    const file = join(folder, `${spec.id}.elf`);
    machine.expectCommand();
    await rename(directory.memory, file);
    return file;
  } finally {
    await rm(directory.memory, { force: true });
  }
}

/** @param left MiB that the files in the folder may have */
async function makeRoom(folder: string, left: number): Promise<void> {
  const files = await Promise.all(
    (await readdir(folder)).map(async (name) => {
      const path = join(folder, name);
      const { mtimeMs, size } = await stat(path);
      return { path, mtimeMs, size: size / 2 ** 20 };
    }),
  );
  let kept = 0;
  for (const { path, size } of files.sort((a, b) => b.mtimeMs - a.mtimeMs)) {
    kept += size;
    if (kept > left) await rm(path, { force: true });
  }
}
