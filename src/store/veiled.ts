import type { RolloutPolicy } from '../domain/policy.ts';
import type { Rollout } from '../domain/rollout.ts';
import type { Secrets } from '../secrets.ts';
import type { Store } from './port.ts';

/**
 * A store that keeps no secret that anybody has said: in the journal, with its evidence, and in why a rollout failed. A
 * policy is kept as it is, for it only names its variables; what they are is a secret from then on.
 */
export function veiledStore(store: Store, secrets: Secrets): Store {
  const learn = (policy: RolloutPolicy) => secrets.addNamed(...textsOf(policy));
  for (const { policy } of [...store.services(), ...store.openRollouts()]) learn(policy);
  const said = <R extends Pick<Rollout, 'reason' | 'gates'>>(rollout: R): R => ({
    ...rollout,
    reason: secrets.veilAll(rollout.reason),
    gates: secrets.veilAll(rollout.gates),
  });
  return {
    ...store,
    openRollout: (rollout) => {
      learn(rollout.policy);
      return store.openRollout(said(rollout));
    },
    updateRollout: (rollout) => store.updateRollout(said(rollout)),
    record: (rollout, happened) => store.record(said(rollout), secrets.veilAll(happened)),
    append: (rollout, at, happening) => store.append(rollout, at, secrets.veilAll(happening)),
    closeRollout: (rollout, happening, left) =>
      store.closeRollout(said(rollout), secrets.veilAll(happening), left),
  };
}

/** Where a policy may name variables whose values go over the network. */
function textsOf({ hooks, analysis }: RolloutPolicy): string[] {
  const calls = [...Object.values(hooks).flat(), ...(analysis?.metrics ?? []).map(({ source }) => source)];
  return calls.flatMap((call) => ('url' in call ? [call.url, ...Object.values(call.headers)] : []));
}
