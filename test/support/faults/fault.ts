/** The processes that a rollout depends on; `old` and `new` are a guest's QEMU, of the revision that leaves and of the one that comes. */
export type Target = 'controller' | 'worker' | 'data plane' | 'old' | 'new' | 'cli';

/** SIGKILL, SIGSTOP and SIGCONT after five seconds, SIGTERM. */
type Blow = 'kill' | 'stop' | 'terminate';

/** How long a process stands still that is stopped, in ms. */
export const STOPPED = 5_000;

/** A moment of a rollout: just before or just after an entry of its journal. */
export interface Point {
  /** counted from 0, over the entries of the undisturbed rollout */
  entry: number;
  when: 'before' | 'after';
}

export interface Fault {
  target: Target;
  blow: Blow;
  point: Point;
}

/**
 * What the simulated world can tell apart: a process that is told to end is gone as one that is killed, but for the
 * controller, which leaves in order, and for the command line, which gives an order. A worker that stands still is waited
 * for as its primary is; of a command line that is killed or stopped nobody takes notice.
 */
const EFFECTS: Pick<Fault, 'target' | 'blow'>[] = [
  { target: 'controller', blow: 'kill' },
  { target: 'controller', blow: 'stop' },
  { target: 'controller', blow: 'terminate' },
  { target: 'data plane', blow: 'kill' },
  { target: 'data plane', blow: 'stop' },
  { target: 'worker', blow: 'kill' },
  { target: 'old', blow: 'kill' },
  { target: 'old', blow: 'stop' },
  { target: 'new', blow: 'kill' },
  { target: 'new', blow: 'stop' },
  { target: 'cli', blow: 'terminate' },
];

/**
 * Every fault that makes a difference at an entry. It is written in one moment, so that before and after it are the same
 * to everybody but the controller that is killed over it.
 */
export function faultsAt(entry: number): Fault[] {
  return EFFECTS.flatMap(({ target, blow }) => {
    const whens =
      target === 'controller' && blow === 'kill' ? (['before', 'after'] as const) : (['after'] as const);
    return whens.map((when) => ({ target, blow, point: { entry, when } }));
  });
}

export function nameOf({ target, blow, point }: Fault): string {
  return `${blow} ${target} ${point.when} entry ${point.entry}`;
}
