import { readFileSync, readlinkSync } from 'node:fs';

/** Which process on which machine: a process id alone is given to another one, sooner or later. */
export interface ProcessIdentity {
  pid: number;
  /** when it started, in the kernel's ticks since the boot */
  started: string;
  boot: string;
  /** the namespace that the process id is of */
  namespace: string;
}

export function identityOf(pid: number): ProcessIdentity {
  return { pid, started: startOf(pid) ?? '', boot: bootId(), namespace: namespace() };
}

/** Whether that very process has ended; null where it cannot be seen from here. */
export function isGone({ pid, started, boot, namespace: its }: ProcessIdentity): boolean | null {
  if (boot !== bootId()) return true;
  return its === namespace() ? startOf(pid) !== started : null;
}

/** Null for a process that has ended, a zombie included. */
function startOf(pid: number): string | null {
  try {
    // The program's name, in parentheses, may have any characters: counted from behind it.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

function namespace(): string {
  return readlinkSync('/proc/self/ns/pid');
}
