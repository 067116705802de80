import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

/** A disk of its own at a folder, of which a test decides how full it is. */
export interface SmallDisk {
  /** Leaves not one byte free. */
  fill(): Promise<void>;
  /** Gives back what `fill` took. */
  free(): Promise<void>;
  unmount(): Promise<void>;
}

/** Mounts a disk of so many MiB at a folder, in memory. Whoever may not mount needs sudo without a password. */
export async function smallDisk(folder: string, size: number): Promise<SmallDisk> {
  await mkdir(folder, { recursive: true });
  await asRoot('mount', [
    '-t',
    'tmpfs',
    '-o',
    `size=${size}m,mode=700,uid=${process.getuid?.() ?? 0}`,
    'tmpfs',
    folder,
  ]);
  const filler = join(folder, 'filler');
  return {
    async fill() {
      const file = await open(filler, 'a');
      try {
        for (const piece of [1 << 20, 4096]) await writeUntilFull(file, Buffer.alloc(piece));
      } finally {
        await file.close();
      }
    },
    free: () => rm(filler, { force: true }),
    unmount: async () => void (await asRoot('umount', ['--lazy', folder])),
  };
}

/** Runs a command with the folder read-only, for it and what it starts alone. */
export async function withReadOnly(folder: string, command: string[], env: Record<string, string>) {
  const script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
  const [program, args] = rootly('unshare', ['--mount', 'sh', '-c', script, folder, ...command]);
  return await execa(program, args, { env, reject: false });
}

async function writeUntilFull(file: Awaited<ReturnType<typeof open>>, piece: Buffer): Promise<void> {
  try {
    for (;;) await file.appendFile(piece);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

async function asRoot(program: string, args: string[]): Promise<void> {
  await execa(...rootly(program, args));
}

function rootly(program: string, args: string[]): [string, string[]] {
  return process.getuid?.() === 0 ? [program, args] : ['sudo', ['-n', '-E', program, ...args]];
}
