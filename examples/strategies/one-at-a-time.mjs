/**
 * A strategy of one's own: `rollout.strategy: ./one-at-a-time.mjs`. It replaces one instance after the other, never more
 * than one above the replicas, and stands after the first until somebody has looked at it: `unideploy promote`.
 */
export default {
  name: 'one-at-a-time',

  next({ instances }, rollout, now) {
    const { target, replicas, since, renew, direction, passed } = rollout;
    const isTarget = (i) => i.revision === target && (renew === null || i.launchedAt >= renew);
    const isFresh = (i) => isTarget(i) && i.launchedAt >= since;
    const isReady = (i) => i.state === 'running' && i.health === 'healthy' && i.verified;

    // One thing at a time; and nobody is judged who has not been asked yet.
    if (instances.some((i) => i.acting !== null)) return wait('what is under way');
    if (instances.some((i) => i.state === 'running' && i.health === 'unknown' && !isFresh(i)))
      return wait('the first answers');

    const late = (i) => i.state === 'stopped' || now - i.launchedAt > rollout.health.deadline;
    const failed = instances.find((i) => isFresh(i) && !isReady(i) && late(i));
    if (failed) return { kind: 'fail', instance: failed.id, reason: 'did not come up' };

    const keep = instances.filter((i) => isFresh(i) || (isTarget(i) && isReady(i))).slice(0, replicas);
    const booting = keep.find((i) => !isReady(i));
    if (booting) return wait(`${booting.id} to be healthy and verified`);
    const arrived = keep.find((i) => i.weight === 0);
    if (arrived) return act({ kind: 'admit', instance: arrived.id, weight: 100 });

    const leaving = instances.filter((i) => !keep.includes(i));
    if (
      keep.length === 1 &&
      leaving.length > 0 &&
      direction === 'forward' &&
      passed['the first'] === undefined
    )
      return { kind: 'gate', gate: { key: 'the first', wait: null, hooks: null, analysed: false } };

    const [next] = leaving;
    if (next && instances.length > replicas) {
      const idle = next.state === 'stopped' || (next.weight === 0 && next.inFlight === 0);
      return act({ kind: idle ? 'retire' : 'drain', instance: next.id });
    }
    return keep.length < replicas ? act({ kind: 'launch', instance: rollout.freshId(0) }) : { kind: 'done' };
  },
};

function act(action) {
  return { kind: 'act', actions: [action] };
}

function wait(reason) {
  return { kind: 'wait', reason };
}
