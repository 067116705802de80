import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fence } from './domain/fence.ts';
import { UnideployError } from './errors.ts';

/**
 * Marks a folder as under the command of the fence's token: an empty file `owner.<token>` in it. Marks are made and never
 * written over, so that whoever is late cannot lower what a newer one has raised.
 *
 * @throws UD_FENCED when a newer token has it
 */
export function ownFolder(folder: string, { token }: Fence): void {
  const marks = marksIn(folder);
  expectNewest(folder, token, marks);
  if (token === 0 || marks.includes(token)) return;
  writeFileSync(markOf(folder, token), '', { mode: 0o600 });
  // Looked at again: another one may have made its own meanwhile.
  const now = marksIn(folder);
  for (const mark of now.filter((each) => each < token)) rmSync(markOf(folder, mark), { force: true });
  expectNewest(folder, token, now);
}

/** The refusal of an order by whom a newer token is known to. */
export function fenced(what: string, token: number, newest: number): UnideployError {
  return new UnideployError(
    'UD_FENCED',
    `${what} is under the command of a newer controller (token ${newest}); the order of token ${token} is refused`,
    'nothing is to be done for this one; ask the newer one: unideploy status',
  );
}

function expectNewest(folder: string, token: number, marks: number[]): void {
  const newest = Math.max(0, ...marks);
  if (newest > token) throw fenced(folder, token, newest);
}

function marksIn(folder: string): number[] {
  return readdirSync(folder)
    .map((name) => Number(/^owner\.(\d+)$/.exec(name)?.[1] ?? 0))
    .filter((token) => token > 0);
}

function markOf(folder: string, token: number): string {
  return join(folder, `owner.${token}`);
}
