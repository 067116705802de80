import { existsSync } from 'node:fs';
import { leaseState } from '../domain/lease.ts';
import { LeaseFiles } from './lease-files.ts';
import { monotonic } from './monotonic.ts';
import type { StatePaths } from './paths.ts';
import { isGone } from './process-identity.ts';

/** Whether the state's controller lives and is silent for so long that another one may take over. */
export function isSilent({ lease }: StatePaths): boolean {
  const last = existsSync(lease) ? new LeaseFiles(lease).all().at(-1) : undefined;
  return last !== undefined && isGone(last) === false && leaseState(last, monotonic(), false) === 'free';
}
