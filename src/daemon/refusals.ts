import type { Rollout } from '../domain/rollout.ts';
import { UnideployError } from '../errors.ts';
import type { Service, Store } from '../store/port.ts';

/** @throws UD_UNKNOWN_SERVICE */
export function needService(store: Store, name: string): Service {
  const service = store.service(name);
  if (service) return service;
  const known = store.services().map((other) => other.name);
  throw new UnideployError(
    'UD_UNKNOWN_SERVICE',
    `no service ${name} runs here; running: ${known.join(', ') || 'none'}`,
    'start it with unideploy up, or name another with --service',
  );
}

export function locked(holder: Rollout): UnideployError {
  return new UnideployError(
    'UD_LOCKED',
    `rollout ${holder.id} of ${holder.service}, started by ${holder.performer}, is still under way`,
    `wait for it (unideploy wait --service ${holder.service}, or rollout --wait 15m), or replace it: rollout --supersede`,
  );
}

export function nothingOpen(message: string, next: string): UnideployError {
  return new UnideployError('UD_NOTHING_OPEN', message, next);
}

/** @param now bytes of it, of which there are to be `size` */
export function wouldShrink(service: string, volume: string, now: number, size: number): UnideployError {
  return new UnideployError(
    'UD_USAGE',
    `data volume ${volume} of ${service} has ${now} bytes, and would have ${size}: it never shrinks`,
    `say ${now} bytes or more; or begin a new one under another name, and copy what it is to hold`,
  );
}
