import type { Reading } from './health.ts';
import type { MemoryPolicy, Sample } from './memory.ts';
import { isOutOfMemory, panicLine } from './panics.ts';
import type { Limits } from './restraint.ts';
import type { Machine } from './revision.ts';

/** What can be wrong with an instance. */
export const CAUSES = ['dead', 'panicked', 'hung', 'erring', 'starved', 'stopped'] as const;
export type Cause = (typeof CAUSES)[number];

/** What is done with a sick instance: another one first, the old one first, or the old one kept, frozen, to be looked at. */
export const TREATMENTS = ['replace', 'restart', 'freeze'] as const;
export type Treatment = (typeof TREATMENTS)[number];

/** How the instances of a service are watched and treated. Times in milliseconds. */
export interface SupervisionPolicy {
  enabled: boolean;
  /** by cause; a cause that is not named is treated with `replace` */
  treatments: Partial<Record<Cause, Treatment>>;
  /** share of errors, per cent, among an instance's answers to clients that makes it sick, where the others have next to none; null: not looked at */
  errors: number | null;
  /** null: free memory is not looked at */
  memory: MemoryPolicy | null;
  limits: Limits;
  /** the memory of a sick guest is written to a file, so many MiB of all such files are kept; 0: none is written */
  dump: number;
  /** texts on the console that mean a panic, besides those of the guest profile */
  console: string[];
}

export const DEFAULT_SUPERVISION: SupervisionPolicy = {
  enabled: true,
  treatments: {},
  errors: 50,
  memory: { floor: 4, horizon: 30_000 },
  limits: { repairs: 5, window: 600_000, backoff: 2_000 },
  dump: 0,
  console: [],
};

/** How a process ended, as far as the system has told. */
export interface Exit {
  code: number | null;
  signal: string | null;
}

/** What a hypervisor knows of one instance beyond what runs. */
export interface Vitals {
  /** null: it runs, or nobody saw it end */
  exit: Exit | null;
  /** the last things that QEMU said by itself, oldest first: `GUEST_PANICKED`, `SHUTDOWN guest-reset` */
  events: string[];
  /** by the guest's own word; null where it has none */
  memory: Sample | null;
}

/** Everything that one instance is judged by. */
export interface Signs {
  profile: Machine['profile'];
  /** `stopped`: its process is gone */
  state: 'starting' | 'running' | 'stopped';
  /** QEMU's word; null: it does not answer */
  runState: string | null;
  vitals: Vitals;
  reading: Reading;
  /** the last lines of its console; needed only where its last answer was bad, or it has panicked */
  console: string[];
  /** texts that mean a panic, besides those of the profile */
  patterns: string[];
  /** on its answers to clients, when they are worse than the others'; null: they are not, or nobody knows */
  outlier: string | null;
  /** on its memory, when that runs out; null: it does not, or nobody knows */
  memory: string | null;
  /** it used to tell of its memory, and does not any more */
  silent: boolean;
  /** it may still become healthy for the first time */
  young: boolean;
}

export interface Diagnosis {
  cause: Cause;
  /** for people, after the name of the instance: `does not answer: no answer within 1000 ms, 3 times in a row` */
  sentence: string;
}

const PANICKED = ['guest-panicked', 'internal-error'];
const STANDING: Record<string, string> = {
  'io-error': 'stands still after an error of a disk',
  watchdog: 'was stopped by its watchdog',
  paused: 'was stopped by somebody through its monitor',
  shutdown: 'has shut down',
};

/** What is wrong with an instance; null: nothing, or nothing that is sure yet. */
export function diagnose(signs: Signs): Diagnosis | null {
  const { state, runState } = signs;
  if (state === 'stopped') return ended(signs);
  if (runState !== null && PANICKED.includes(runState)) return panicked(signs) ?? PANIC;
  const stands = runState === null ? undefined : STANDING[runState];
  if (stands !== undefined) return { cause: 'stopped', sentence: stands };
  return state === 'running' ? (unwell(signs) ?? worn(signs)) : null;
}

/** Whether the console of an instance is worth a look before it is judged. */
export function needsConsole({ runState, reading }: Pick<Signs, 'runState' | 'reading'>): boolean {
  return reading.last?.healthy === false || (runState !== null && PANICKED.includes(runState));
}

const PANIC: Diagnosis = { cause: 'panicked', sentence: 'panicked' };

function ended({ vitals: { exit, events } }: Signs): Diagnosis {
  if (events.some((event) => event.startsWith('GUEST_PANICKED'))) return PANIC;
  const last = events.findLast((event) => event.startsWith('SHUTDOWN'));
  if (last === 'SHUTDOWN guest-shutdown') return { cause: 'stopped', sentence: 'powered itself off' };
  if (last === 'SHUTDOWN guest-reset') return { ...PANIC, sentence: 'reset itself, as after a panic' };
  if (last === 'SHUTDOWN host-qmp-quit')
    return { cause: 'stopped', sentence: 'was ended by somebody through its monitor' };
  if (exit?.signal) return { cause: 'dead', sentence: `has died: its process was ended by ${exit.signal}` };
  const code = exit?.code ?? null;
  const how = code === null ? 'is gone' : `ended with exit code ${code}`;
  return { cause: 'dead', sentence: `has died: its process ${how}` };
}

/**
 * A console says what its guest writes, and whoever can have it write something: alone it proves nothing, but beside it
 * one bad answer is enough.
 */
function unwell(signs: Signs): Diagnosis | null {
  const { health, last, streak } = signs.reading;
  if (!last || last.healthy) return null;
  const found = panicked(signs);
  if (found) return found;
  if (health !== 'unhealthy' || signs.young) return null;
  const said = `${last.summary}, ${streak === 1 ? 'once' : `${streak} times in a row`}`;
  if (/^\d{3}\b/.test(last.summary)) return { cause: 'erring', sentence: `answers with errors: ${said}` };
  const kernel = signs.silent ? '; its kernel is silent too' : '';
  const silent = signs.runState === null ? '; its monitor is silent too' : kernel;
  return { cause: 'hung', sentence: `does not answer: ${said}${silent}` };
}

function panicked({ console, profile, patterns }: Signs): Diagnosis | null {
  const line = panicLine(console, profile, patterns);
  if (line === null) return null;
  if (isOutOfMemory(line)) return { cause: 'starved', sentence: `ran out of memory: "${line}"` };
  return { cause: 'panicked', sentence: `panicked: "${line}"` };
}

/** It answers its health checks well, and is to be replaced all the same. */
function worn({ outlier, memory, reading }: Signs): Diagnosis | null {
  if (reading.health !== 'healthy') return null;
  if (outlier !== null) return { cause: 'erring', sentence: outlier };
  return memory === null ? null : { cause: 'starved', sentence: memory };
}
