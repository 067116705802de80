/** Where hooks may be, in the order in which a rollout comes to them. */
export const HOOK_POINTS = [
  'pre-build',
  'pre-rollout',
  'pre-cutover',
  'post-cutover',
  'post-rollout',
  'on-rollback',
] as const;
export type HookPoint = (typeof HOOK_POINTS)[number];

/**
 * What is run or called at a point of a rollout. A command runs in the config's folder with what every program needs, and the variables that
 * it names, of the process that runs it (`pre-build`: the command line; all others: the controller), and what happened in `UNIDEPLOY_…` variables.
 */
export type Hook = HookCall & {
  /** milliseconds */
  timeout: number;
};

type HookCall =
  | { kind: 'command'; command: string /** absolute */; folder: string }
  /** both may name variables of the environment, `${TOKEN}`, which are read when it is called and never written down */
  | { kind: 'http'; url: string; headers: Record<string, string> };

export type Hooks = Record<HookPoint, Hook[]>;

export const NO_HOOKS: Hooks = {
  'pre-build': [],
  'pre-rollout': [],
  'pre-cutover': [],
  'post-cutover': [],
  'post-rollout': [],
  'on-rollback': [],
};

/** What a hook is told. */
export interface HookFacts {
  point: HookPoint;
  service: string;
  /** null: not known yet (`pre-build`) */
  rollout: number | null;
  /** the revision that the rollout comes from, and the one it goes to */
  from: number | null;
  to: number | null;
  /** ids of the instances of the revision it goes to */
  instances: string[];
  performer: string;
  /** of `on-rollback`: why */
  reason: string | null;
}

/** A short name for people and the journal: the command's first line, or the address without what may be secret in it. */
export function nameOf(hook: Hook): string {
  if (hook.kind === 'http') return `POST ${hook.url.replace(/[?#].*/s, '').replace(/\/\/[^/@]*@/, '//')}`;
  const [first = '', ...more] = hook.command.trim().split('\n');
  return more.length === 0 ? first : `${first} …`;
}
