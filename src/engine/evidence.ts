import type { Evidence } from '../domain/journal.ts';
import { panicAt } from '../domain/panics.ts';
import type { Senses } from './observe.ts';

/** Lines of a console kept as evidence. */
const EVIDENCE_LINES = 30;
/** Lines of a console in which they are looked for. */
const CONSOLE_LINES = 300;

/** What is to be found at an instance that has failed. */
export async function findEvidence(
  { hypervisor, monitor }: Pick<Senses, 'hypervisor' | 'monitor'>,
  instance: string,
  patterns: string[] = [],
): Promise<Evidence> {
  const lines = await hypervisor.console(instance, CONSOLE_LINES).catch(() => []);
  const console = telling(lines, patterns);
  const { last, answers } = monitor.reading(instance);
  return { instance, lastAnswer: last?.summary ?? null, answers, console };
}

/** The last lines; where a guest has panicked, those around its first word on it: the trace after it says less. */
function telling(lines: string[], patterns: string[]): string[] {
  const panic = panicAt(lines, 'custom', patterns);
  return panic < 0
    ? lines.slice(-EVIDENCE_LINES)
    : lines.slice(Math.max(0, panic - 5)).slice(0, EVIDENCE_LINES);
}
