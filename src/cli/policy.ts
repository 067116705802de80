import { existingFile } from '../artifact/references.ts';
import type { RolloutConfig } from '../config/rollout.ts';
import type { RolloutPolicy } from '../domain/policy.ts';

/**
 * What the controller is told of how the pool moves: of a strategy of the user's own only where it is.
 * @throws UD_FILE_NOT_FOUND with the line of the config
 */
export async function checkedPolicy({ strategy, ...policy }: RolloutConfig): Promise<RolloutPolicy> {
  if (typeof strategy === 'string') return { ...policy, strategy };
  return { ...policy, strategy: (await existingFile(strategy)) as `/${string}` };
}
