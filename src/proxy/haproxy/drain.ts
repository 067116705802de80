import { setTimeout as delay } from 'node:timers/promises';
import type { TrafficPolicy } from '../../domain/traffic.ts';
import type { Drained } from '../port.ts';
import { LIMITS } from './limits.ts';
import type { Runtime } from './runtime.ts';
import type { Session } from './sessions.ts';

/** One server of a process that has something in flight. */
export interface Busy {
  runtime: Runtime;
  backend: string;
  name: string;
  inFlight: number;
}

/**
 * Waits until the servers that `ask` finds have nothing in flight. WebSockets and event streams end when their own grace
 * time is over, and everything at the deadline: HAProxy breaks the connections, it cannot take leave of a client.
 */
export async function drain(
  ask: () => Promise<Busy[]>,
  grace: TrafficPolicy['drain'],
  deadlineMs: number,
): Promise<Drained> {
  const begun = performance.now();
  const end = begun + deadlineMs;
  const drained: Drained = { cut: 0, websockets: 0, streams: 0 };
  let looked = 0;
  for (;;) {
    const busy = await ask();
    if (busy.length === 0) return drained;
    if (performance.now() >= end) return { ...drained, cut: await cut(busy, ask) };
    const over = (kind: Session['kind']) =>
      (kind === 'websocket' && performance.now() >= begun + grace.websocket) ||
      (kind === 'events' && performance.now() >= begun + grace.events);
    if ((over('websocket') || over('events')) && performance.now() >= looked + LIMITS.sessions) {
      looked = performance.now();
      const ended = await endSessions(busy, over);
      drained.websockets += ended.filter(({ kind }) => kind === 'websocket').length;
      drained.streams += ended.filter(({ kind }) => kind === 'events').length;
    }
    await delay(Math.min(LIMITS.poll, Math.max(0, end - performance.now())));
  }
}

async function endSessions(busy: Busy[], over: (kind: Session['kind']) => boolean): Promise<Session[]> {
  const ended: Session[] = [];
  for (const runtime of new Set(busy.map((each) => each.runtime))) {
    const own = new Set(
      busy.filter((each) => each.runtime === runtime).map((each) => `${each.backend}/${each.name}`),
    );
    const sessions = (await runtime.sessions()).filter(
      ({ backend, server, kind }) => own.has(`${backend}/${server}`) && over(kind),
    );
    await runtime.cutSessions(sessions.map(({ id }) => id));
    ended.push(...sessions);
  }
  return ended;
}

/** Ends all that is left; returns how many that were, when HAProxy counts them no more. */
async function cut(busy: Busy[], ask: () => Promise<Busy[]>): Promise<number> {
  for (const { runtime, backend, name } of busy) await runtime.cut(backend, name);
  const end = performance.now() + LIMITS.cut;
  while ((await ask()).length > 0 && performance.now() < end) await delay(LIMITS.poll);
  return busy.reduce((sum, { inFlight }) => sum + inFlight, 0);
}
