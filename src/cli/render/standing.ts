import type { Standing } from '../../domain/standing.ts';
import { seconds } from './words.ts';

/** What keeps a rollout from going on, in words that follow "is"; empty when nothing does. */
export function standsAt({ pausedBy, gate }: Standing, now = Date.now()): string {
  if (pausedBy !== null) return `paused by ${pausedBy}`;
  if (!gate) return '';
  if (gate.stuck !== null) return `waiting at gate ${gate.gate} for a person: ${gate.stuck}`;
  if (gate.opensAt === null) return `waiting at gate ${gate.gate} for unideploy promote`;
  const left = gate.opensAt - now;
  return `waiting at gate ${gate.gate}${left > 0 ? `, opens by itself in ${seconds(left)}` : ''}`;
}
