import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { findUsers, type User, type Users, userFor } from '../../../confinement.ts';
import type { Accelerator } from '../../../domain/revision.ts';
import { UnideployError } from '../../../errors.ts';
import { readJson, writeAtomically } from '../run-directory.ts';
import { qemuVersion } from '../tools.ts';
import { runProbe } from './probe.ts';

/** Whether guests really run under an accelerator on this host, and why not. */
export interface AcceleratorVerdict {
  accel: 'kvm' | 'tcg';
  works: boolean;
  reason: string;
}

export interface ProbeOptions {
  /** state directory; the verdict is kept there until the host boots again or QEMU changes */
  state: string;
  qemu?: string;
  /** probes although there is a verdict */
  refresh?: boolean;
  /** whom guests run as; left out: as can be done here */
  users?: Users;
  /** milliseconds a probe guest has for each accelerator */
  deadlineMs?: number;
}

/** Tells which accelerators work here by running a guest under each, once per boot of the host. Takes 1 to 10 s then. */
export async function probeAccelerators(options: ProbeOptions): Promise<AcceleratorVerdict[]> {
  const { state, qemu = 'qemu-system-x86_64', refresh = false, deadlineMs = 10_000 } = options;
  const file = join(resolve(state), 'accel.json');
  const user = userFor(options.users ?? (await findUsers()), 'probe');
  const key = `${await bootId()} ${await qemuVersion(qemu)}${user === null ? '' : ' as a user of its own'}`;
  const known = await readJson<Verdicts>(file).catch(() => null);
  if (!refresh && known?.key === key) return known.verdicts;
  const verdicts = await probe(qemu, deadlineMs, user);
  await mkdir(resolve(state), { recursive: true });
  await writeAtomically(file, { key, verdicts } satisfies Verdicts);
  return verdicts;
}

/** What a machine runs under. Throws UD_ACCEL when KVM was asked for by name and does not work. */
export async function chooseAccelerator(
  wanted: Accelerator,
  verdicts: () => Promise<AcceleratorVerdict[]>,
): Promise<'kvm' | 'tcg'> {
  if (wanted === 'tcg') return 'tcg';
  const kvm = (await verdicts()).find(({ accel }) => accel === 'kvm');
  if (kvm?.works === true) return 'kvm';
  if (wanted === 'auto') return 'tcg';
  throw new UnideployError(
    'UD_ACCEL',
    `KVM does not work on this host: ${kvm?.reason ?? 'unknown'}`,
    'use machine.accel: auto or tcg, or a host whose KVM works (unideploy doctor tells)',
  );
}

interface Verdicts {
  key: string;
  verdicts: AcceleratorVerdict[];
}

async function probe(qemu: string, deadlineMs: number, user: User | null): Promise<AcceleratorVerdict[]> {
  const tcg = await runProbe(qemu, 'tcg', deadlineMs, user);
  const kvm = await runProbe(qemu, 'kvm', deadlineMs, user);
  return [
    judge('kvm', kvm.finished, kvm.complaint, slowness(kvm.workMs, tcg.workMs)),
    judge('tcg', tcg.finished, tcg.complaint, null),
  ];
}

function judge(
  accel: 'kvm' | 'tcg',
  finished: boolean,
  complaint: string,
  slow: string | null,
): AcceleratorVerdict {
  if (!finished) return { accel, works: false, reason: `a guest did not run: ${complaint}` };
  if (slow !== null) return { accel, works: false, reason: slow };
  return { accel, works: true, reason: 'a guest ran to its end' };
}

/** KVM takes a fifth of TCG's time on real hardware; one that takes twice as long is interpreted somewhere below. */
function slowness(kvmMs: number | null, tcgMs: number | null): string | null {
  if (kvmMs === null || tcgMs === null || kvmMs <= 2 * tcgMs) return null;
  return `slower than emulation: ${Math.round(kvmMs)} ms for what TCG does in ${Math.round(tcgMs)} ms`;
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}
