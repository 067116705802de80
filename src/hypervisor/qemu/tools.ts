import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { UnideployError } from '../../errors.ts';

/** The error for a program that is not installed. */
function toolMissing(program: string, cause?: unknown): UnideployError {
  const debianPackage =
    Object.entries(PACKAGES).find(([name]) => program.includes(name))?.[1] ?? 'qemu-system-x86';
  return new UnideployError(
    'UD_TOOL_MISSING',
    `${program} is not installed`,
    `install it, on Debian with: apt-get install ${debianPackage}`,
    { cause },
  );
}

const PACKAGES = { 'qemu-img': 'qemu-utils', prlimit: 'util-linux', setpriv: 'util-linux', env: 'coreutils' };

/** Throws UD_TOOL_MISSING for the first of these programs, names or paths, that is not there. */
export async function needTools(...programs: string[]): Promise<void> {
  const folders = (process.env.PATH ?? '').split(':').filter((folder) => folder !== '');
  for (const program of programs) {
    const places = program.includes('/') ? [program] : folders.map((folder) => join(folder, program));
    const found = await Promise.all(places.map(isExecutable));
    if (!found.includes(true)) throw toolMissing(program);
  }
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** What QEMU says it is, e.g. `QEMU emulator version 7.2.22 (…)`. Throws UD_TOOL_MISSING. */
export async function qemuVersion(qemu: string): Promise<string> {
  const { code, stdout } = await execa(qemu, ['--version'], { reject: false, timeout: 10_000 });
  if (code === 'ENOENT') throw toolMissing(qemu);
  return stdout.split('\n')[0] ?? '';
}

/** The number in what QEMU says it is: `7.2.22`. */
export function versionOf(said: string): string {
  return /version (\d+\.\d+\.\d+)/.exec(said)?.[1] ?? said;
}
