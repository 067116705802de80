import { HOLD_SCRIPT } from './hold.ts';
import { NAMED_SCRIPT } from './named.ts';

/** All that runs as Lua; `closed` are the services that refuse instead of holding, by their words. */
export function luaScript(closed: string[]): string {
  const names = closed.map((name) => `[${JSON.stringify(name)}] = true`).join(', ');
  return `local closed = { ${names} }\n${HOLD_SCRIPT}\n${NAMED_SCRIPT}`;
}
