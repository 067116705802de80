import type { Answers } from '../domain/health.ts';
import type { Endpoint } from '../hypervisor/port.ts';

export interface Questions {
  healthPath: string;
  /** paths whose answers prove the revision */
  probePaths: string[];
  /** milliseconds for each answer */
  timeout: number;
}

/** Asks an instance over HTTP, past the data plane. No answer is an answer; rejects only when this host cannot ask at all. */
export interface Prober {
  ask(endpoint: Endpoint, questions: Questions): Promise<Answers>;
}
