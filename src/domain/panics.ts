import type { Machine } from './revision.ts';

/**
 * What kernels and runtimes write on their console when they go down. The profile `custom` may be any of them.
 * Sources: Linux kernel/panic.c, arch/x86/kernel/dumpstack.c, mm/oom_kill.c; Nanos src/x86_64/interrupt.c and
 * src/runtime/runtime.h; OSv core/debug.cc and libc/abort.cc; Unikraft lib/ukdebug; MirageOS (OCaml's runtime/printexc.c,
 * Solo5's solo5_abort).
 */
const LINUX = [
  /(?<!end )Kernel panic - not syncing/,
  /\bOops: \d/,
  /\bBUG: (unable to handle|kernel NULL|soft lockup|Bad page)/,
  /\bkernel BUG at /,
  /\bgeneral protection fault\b/,
  /\bOut of memory: Killed process \d/,
  /\bsegfault at [0-9a-f]+ ip /,
  /\brcu: INFO: rcu_\w+ (self-)?detected stall/,
];
const NANOS = [
  /\bassertion .+ failed at \S+:\d+/i,
  /\bassertion failed\b/i,
  /\bframe trace:/i,
  /\bno fault handler for frame\b/i,
  /\bhalt(ed|ing)? due to\b/i,
  /\bout of memory\b/i,
];
const OTHERS = [
  // OSv
  /\[backtrace\]/,
  /\bAssertion failed: .+ \(.+: .+: \d+\)/,
  /^Aborted$/,
  /\bout of memory: could not reclaim\b/i,
  // Unikraft
  /\bCRIT: .*(Unhandled|Assertion failure|Crashed)/,
  /\bUnikraft (crash|Crash)/,
  // MirageOS
  /\bFatal error: exception\b/,
  /\bsolo5_abort\b/i,
];

const BY_PROFILE: Record<Machine['profile'], RegExp[]> = {
  linux: LINUX,
  nanos: NANOS,
  custom: [...LINUX, ...NANOS, ...OTHERS],
};

/**
 * The line of the console that tells of a panic, without its time stamp and at most 200 characters of it; null: none.
 *
 * @param more texts that mean one too, as they stand in the line
 */
export function panicLine(console: string[], profile: Machine['profile'], more: string[]): string | null {
  const at = panicAt(console, profile, more);
  return at < 0
    ? null
    : (console[at] ?? '')
        .replace(/^\[\s*[\d.]+\]\s*/, '')
        .trim()
        .slice(0, 200);
}

/** Where the last such line is, for a kernel's last word says the most; negative: there is none. */
export function panicAt(console: string[], profile: Machine['profile'], more: string[] = []): number {
  const patterns = BY_PROFILE[profile];
  return console.findLastIndex(
    (line) => patterns.some((pattern) => pattern.test(line)) || more.some((text) => line.includes(text)),
  );
}

/** Whether a panic was for want of memory. */
export function isOutOfMemory(line: string): boolean {
  return /out of memory|deadlocked on memory|could not reclaim/i.test(line);
}
