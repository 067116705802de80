import { EVENTS_NICE } from './config-backend.ts';

/** What one of HAProxy's sessions is, for a drain. */
export interface Session {
  id: string;
  backend: string;
  server: string;
  kind: 'websocket' | 'events' | 'plain';
}

/** Reads `show sess all`. */
export function readSessions(text: string): Session[] {
  return text
    .split(/^(?=0x)/m)
    .filter((block) => block.startsWith('0x'))
    .map((block) => {
      const field = (name: string) => new RegExp(`\\b${name}=(\\S+)`).exec(block)?.[1] ?? '';
      const events = new RegExp(`^ +task=.* nice=${EVENTS_NICE} `, 'm').test(block);
      const kind = field('status') === '101' ? 'websocket' : events ? 'events' : 'plain';
      return {
        id: block.slice(0, block.indexOf(':')),
        backend: field('backend'),
        server: field('server'),
        kind,
      };
    });
}
