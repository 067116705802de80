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

/** Tells an instance something by a POST, past the data plane. Throws UD_GUEST_UNHEALTHY where it does not answer well in time. */
export type Teller = (endpoint: Endpoint, path: string, timeout: number) => Promise<void>;
