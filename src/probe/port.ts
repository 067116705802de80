import type { Answers } from '../domain/health.ts';
import type { Proof } from '../domain/revision.ts';
import type { Endpoint } from '../hypervisor/port.ts';

export interface Questions {
  healthPath: string;
  /** paths whose answers prove the revision */
  probePaths: string[];
  /** milliseconds for each answer */
  timeout: number;
}

/** What a copy of a template is told, as JSON, with random bytes that nobody else gets: until then it is its parent's twin. */
interface Waking {
  /** HTTP path of the guest that takes it, by POST */
  path: string;
  identity: {
    /** of the instance */
    id: string;
    /** for its network card */
    mac: string;
    /** epoch milliseconds */
    time: number;
  };
  /** milliseconds */
  timeout: number;
}

/** Asks an instance over HTTP, past the data plane. No answer is an answer; rejects only when this host cannot ask at all. */
export interface Prober {
  ask(endpoint: Endpoint, questions: Questions): Promise<Answers>;
  /**
   * Asks for the proofs first, and for its health only once it has given them all, so that whoever is healthy is so with what it
   * has proven. Null: it answers, and proves something else.
   */
  prove(
    endpoint: Endpoint,
    proofs: Proof[],
    questions: Pick<Questions, 'healthPath' | 'timeout'>,
  ): Promise<Answers | null>;
  /** Whether the guest has taken it, and what it answered. */
  wake(endpoint: Endpoint, waking: Waking): Promise<{ heard: boolean; summary: string }>;
}

/** Tells an instance something by a POST, past the data plane. Throws UD_GUEST_UNHEALTHY where it does not answer well in time. */
export type Teller = (endpoint: Endpoint, path: string, timeout: number) => Promise<void>;
