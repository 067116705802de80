import type { Answers } from '../domain/health.ts';
import type { Endpoint } from '../hypervisor/port.ts';

export interface Questions {
  healthPath: string;
  /** paths whose answers prove the revision */
  probePaths: string[];
  /** milliseconds for each answer */
  timeout: number;
}

/** Asks an instance over HTTP, past the data plane. Never rejects: no answer is an answer. */
export interface Prober {
  ask(endpoint: Endpoint, questions: Questions): Promise<Answers>;
}
