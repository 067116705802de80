import { type RolloutPolicy, STRATEGIES } from '../domain/policy.ts';
import { namesIn } from '../secrets.ts';

/** What the holder of a token may do; each may do all that the ones before it may. */
export const SCOPES = ['read', 'deploy', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

/** Of every route. One that is not here keeps the API from starting. */
const NEEDED: Readonly<Record<string, Scope>> = {
  'GET /ping': 'read',
  'POST /stop': 'admin',
  'HEAD /artifacts/:digest': 'deploy',
  'PUT /artifacts/:digest': 'deploy',
  'GET /artifacts/:digest': 'deploy',
  'DELETE /artifacts/:digest': 'admin',
  'POST /artifacts/collect': 'deploy',
  'GET /services': 'read',
  'GET /services/:service': 'read',
  'GET /services/:service/history': 'read',
  'GET /services/:service/audit': 'read',
  'POST /services/:service/rollouts': 'deploy',
  'POST /services/:service/plan': 'deploy',
  'POST /services/:service/rollback': 'deploy',
  'POST /services/:service/scale': 'deploy',
  'POST /services/:service/down': 'deploy',
  'POST /services/:service/restart': 'deploy',
  'POST /services/:service/retry': 'deploy',
  'POST /services/:service/pin': 'deploy',
  'POST /services/:service/promote': 'deploy',
  'POST /services/:service/pause': 'deploy',
  'POST /services/:service/resume': 'deploy',
  'POST /services/:service/abort': 'deploy',
  'GET /data': 'read',
  'POST /services/:service/data/:volume/snapshot': 'deploy',
  'POST /services/:service/data/:volume/forget': 'admin',
  'POST /services/:service/data/:volume/revert': 'admin',
  'POST /services/:service/data/:volume/grow': 'deploy',
  'GET /services/:service/snapshots': 'read',
  'POST /services/:service/snapshots': 'deploy',
  'POST /services/:service/snapshots/:snapshot/restore': 'deploy',
  'DELETE /services/:service/snapshots/:snapshot': 'deploy',
  'POST /services/:service/data/:volume/remove': 'admin',
  'GET /services/:service/copies': 'read',
  'POST /services/:service/data/:volume/copies': 'deploy',
  'GET /services/:service/data/:volume/copies/:copy': 'admin',
  'POST /services/:service/data/:volume/copies/:copy/remove': 'admin',
  'POST /services/:service/data/:volume/copies/:copy/restore': 'admin',
  'POST /proxy/upgrade': 'admin',
  'GET /metrics': 'read',
  'GET /leftovers': 'read',
  'GET /rollouts/:id/journal': 'read',
  'GET /instances/:instance/console': 'read',
};

/** @throws an error, for the programmer, where nobody has said what the route needs */
export function scopeOf(method: string, route: string): Scope {
  const needed = NEEDED[`${method} ${route}`] ?? (method === 'HEAD' ? NEEDED[`GET ${route}`] : undefined);
  if (needed === undefined) throw new Error(`api-scopes.ts does not say who may call ${method} ${route}`);
  return needed;
}

export function covers(has: Scope, needed: Scope): boolean {
  return SCOPES.indexOf(has) >= SCOPES.indexOf(needed);
}

/**
 * What of a policy has the controller run programs as its own user, or send what is in its environment somewhere: whoever may
 * say that has all the rights of that user.
 */
export function trustedPartsOf({ strategy, hooks, analysis }: RolloutPolicy): string[] {
  const isOurs = strategy === 'auto' || STRATEGIES.some((known) => known === strategy);
  const sources = analysis?.metrics.map(({ source }) => source) ?? [];
  const called = [...Object.values(hooks).flat(), ...sources];
  const texts = called.flatMap((call) => ('url' in call ? [call.url, ...Object.values(call.headers)] : []));
  return [
    ...(isOurs ? [] : ['a strategy of its own']),
    ...(called.some(({ kind }) => kind === 'command') ? ['commands'] : []),
    ...(namesIn(texts).length > 0 ? ['variables'] : []),
  ];
}
