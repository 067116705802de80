import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { execa } from 'execa';
import { CONFINING, confined, confinedEnvironment, type Limits, type User } from '../../../confinement.ts';
import { CONFINED } from '../command-line.ts';
import { needTools } from '../tools.ts';

/** probe.S, assembled; that file says what it does and how to make these bytes. */
const PROBE_GUEST = gunzipSync(
  Buffer.from(
    'H4sIAAAAAAACA+1YP2jUUBz+8ud6AZX3Ki0OCqYHBzoYGuvgIHKobQ90KArlRi1cUIcWehG6tXCLt9zgKA66OWlwyolgxOHoVHEq' +
      'dBGFEBTU4QpS0fhL8tJ6URB09H2Q3/d+f99LMr1vdfrSjKooyKHiLDKPp7Ym4g9Hd0sodhoa2RL0tLa8V/7TImNXjDbmh9NJWE/y' +
      'Ym4kdsp5TJTnnJ9Q/8s+CQkJCQkJCQkJCQkJCYn/GTvPjHmOfgmcQzPTFVltkuM5yPhtqulBBTrlEmCi3TfeDnxzBGCVN37SxSqb' +
      'vTUgYCcPJLdtNulrwBqrBEwZv6pwvL9Bd34DfnLx7252g+4r70r0hJytd+yRXsUch8M+BQ5rBOx45tuB/drestc/11l/fxrp4YSt' +
      'dLJ1vH5r25uOlmiEP6UkBz1HIzplpz+rGiCro/si4k5ndoQpR6o3qcQbDc3wvmeGE96x8IGnE6vESjhB9jt5MfGp8Lx3L6x5Vlj7' +
      'OmifqeIyR2l527sYJYLDzuDDN+fpF+3jy7lYT3M0zmzUNxx29MLe94xjMncfZ3xnA4dQVzLJg6mo8SEN4yA9jeZiJopYrestd9m9' +
      'tgBrccltWiuUsNzmigtrodX65/+8T+g0KoZ1k1xHGSvUF3WTcREro6DzCHILDUah/7CIabvtfGh/Y6bQwH89j/ab97ot+s0/nP8H' +
      'Eove7OgSAAA=',
    'base64',
  ),
);

export interface ProbeRun {
  /** true when the guest came to its last sign of life */
  finished: boolean;
  /** milliseconds its work took, on this host's clock; null when it did not get that far */
  workMs: number | null;
  /** QEMU's word on why not, or that the deadline passed */
  complaint: string;
}

/**
 * Boots the probe guest under an accelerator. /dev/kvm that opens is not KVM that works: nested hosts were seen where
 * it interprets every instruction, a hundred times slower than TCG, until it meets one it does not know.
 */
export async function runProbe(
  qemu: string,
  accel: 'kvm' | 'tcg',
  deadlineMs: number,
  user: User | null,
): Promise<ProbeRun> {
  await needTools(qemu, ...CONFINING);
  const folder = await mkdtemp(join(tmpdir(), 'unideploy-probe-'));
  try {
    // Confined as guests are: an accelerator that is not for their user is of no use.
    await chmod(folder, 0o711);
    await writeFile(join(folder, KERNEL), PROBE_GUEST);
    const bounded = confined([qemu, ...words(accel), '-kernel', KERNEL], { user, limits: LIMITS });
    return await watch(bounded, folder, deadlineMs);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const KERNEL = 'probe.elf';
const LIMITS: Limits = { addressSpace: 4 * 1024 ** 3, fileSize: 0, openFiles: 256 };

export function probeGuest(): Uint8Array {
  return PROBE_GUEST;
}

function words(accel: 'kvm' | 'tcg'): string[] {
  return [
    ...CONFINED,
    ...['-no-reboot', '-machine', `q35,accel=${accel},usb=off,smm=off,vmport=off`],
    ...['-cpu', accel === 'kvm' ? 'max' : 'qemu64', '-m', '32M'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
  ];
}

async function watch([program = '', ...args]: string[], cwd: string, deadlineMs: number): Promise<ProbeRun> {
  const guest = execa(program, args, {
    cwd,
    env: confinedEnvironment(),
    extendEnv: false,
    stdin: 'ignore',
    reject: false,
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  });
  const seen = new Map<string, number>();
  guest.stdout.on('data', (chunk: Buffer) => {
    for (const letter of chunk.toString('latin1')) seen.set(letter, performance.now());
    if (seen.has('K')) guest.kill();
  });
  let complaint = '';
  guest.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString('utf8');
    // QEMU stops the guest and stays.
    if (complaint.includes('KVM internal error')) guest.kill();
  });
  const { timedOut } = await guest;
  const start = seen.get('S');
  const end = seen.get('E');
  return {
    finished: seen.has('K'),
    workMs: start === undefined || end === undefined ? null : end - start,
    complaint: timedOut ? `no sign of life within ${deadlineMs} ms` : firstLine(complaint),
  };
}

function firstLine(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.includes('warning:'));
  return lines[0]?.replace(/^qemu-system-[^:]*: /, '') ?? 'QEMU ended without a word';
}
