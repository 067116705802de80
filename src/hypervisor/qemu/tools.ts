import { execa } from 'execa';
import { UnideployError } from '../../errors.ts';

/** The error for a program that is not installed. */
export function toolMissing(program: string, cause?: unknown): UnideployError {
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

/** What QEMU says it is, e.g. `QEMU emulator version 7.2.22 (…)`. Throws UD_TOOL_MISSING. */
export async function qemuVersion(qemu: string): Promise<string> {
  const { code, stdout } = await execa(qemu, ['--version'], { reject: false, timeout: 10_000 });
  if (code === 'ENOENT') throw toolMissing(qemu);
  return stdout.split('\n')[0] ?? '';
}
