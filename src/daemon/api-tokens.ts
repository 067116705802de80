import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { UnideployError } from '../errors.ts';
import { SCOPES, type Scope } from './api-scopes.ts';

/** What is kept of a token: nothing that lets anybody in. */
export interface Token {
  /** its first part, which is no secret */
  id: string;
  /** who is written into the journal */
  name: string;
  scope: Scope;
  /** epoch milliseconds */
  createdAt: number;
  /** epoch milliseconds; null: never */
  expiresAt: number | null;
}

const kept = z.object({
  id: z.string(),
  name: z.string(),
  scope: z.enum(SCOPES),
  createdAt: z.number(),
  expiresAt: z.number().nullable(),
  // A token has 256 random bits: there is no dictionary to try, so one SHA-256 is as good as a slow hash, and nobody can
  // keep the controller busy by guessing.
  hash: z.string().regex(/^[0-9a-f]{64}$/),
});

const SHAPE = /^udt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;

/**
 * Makes a token, one file for each, and returns it; it is nowhere else from then on.
 *
 * @param folder of the state's tokens
 * @throws UD_USAGE when the name cannot be one, or is taken
 */
export async function createToken(
  folder: string,
  { name, scope, expiresAt }: Pick<Token, 'name' | 'scope' | 'expiresAt'>,
  now: number,
): Promise<{ text: string; token: Token }> {
  if (!NAME.test(name))
    throw usage(`"${name}" cannot be the name of a token`, 'use letters, digits, ".", "_", "@" and "-"');
  if ((await listTokens(folder)).some((token) => token.name === name))
    throw usage(
      `there is a token ${name} already`,
      `choose another name, or: unideploy token revoke ${name}`,
    );
  const id = randomBytes(6).toString('hex');
  const secret = randomBytes(32).toString('base64url');
  const token: Token = { id, name, scope, createdAt: now, expiresAt };
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = fileOf(folder, id);
  await writeFile(`${file}.new`, JSON.stringify({ ...token, hash: hashed(secret) }), { mode: 0o600 });
  await rename(`${file}.new`, file);
  return { text: `udt_${id}_${secret}`, token };
}

/** Oldest first; expired ones included. */
export async function listTokens(folder: string): Promise<Token[]> {
  const names = (await readdir(folder).catch(ignoreMissing)) ?? [];
  const ids = names.flatMap((name) => /^([0-9a-f]{12})\.json$/.exec(name)?.[1] ?? []);
  const found = await Promise.all(ids.map((id) => read(folder, id)));
  return found
    .flatMap((token) => (token === null ? [] : [withoutHash(token)]))
    .sort((a, b) => a.createdAt - b.createdAt);
}

/** From now on it lets nobody in. @throws UD_USAGE when there is none of that name or id */
export async function revokeToken(folder: string, nameOrId: string): Promise<Token> {
  const token = (await listTokens(folder)).find(({ id, name }) => name === nameOrId || id === nameOrId);
  if (token === undefined)
    throw usage(`there is no token ${nameOrId}`, 'see them with: unideploy token list');
  await rm(fileOf(folder, token.id), { force: true });
  return token;
}

/** Whose token this is, as far as it is one and has not expired. Takes as long for a wrong secret as for the right one. */
export async function holderOf(folder: string, text: string, now: number): Promise<Token | null> {
  const [, id, secret] = SHAPE.exec(text) ?? [];
  if (id === undefined || secret === undefined) return null;
  const token = await read(folder, id);
  const isRight = timingSafeEqual(Buffer.from(hashed(secret)), Buffer.from(token?.hash ?? hashed('')));
  if (token === null || !isRight || (token.expiresAt !== null && token.expiresAt <= now)) return null;
  return withoutHash(token);
}

/** One that cannot be read lets nobody in. */
async function read(folder: string, id: string): Promise<z.infer<typeof kept> | null> {
  const text = await readFile(fileOf(folder, id), 'utf8').catch(() => 'null');
  try {
    return kept.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

function withoutHash({ hash: _, ...token }: z.infer<typeof kept>): Token {
  return token;
}

function fileOf(folder: string, id: string): string {
  return join(folder, `${id}.json`);
}

function hashed(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

function ignoreMissing(error: NodeJS.ErrnoException): null {
  if (error.code !== 'ENOENT') throw error;
  return null;
}

function usage(message: string, next: string): UnideployError {
  return new UnideployError('UD_USAGE', message, next);
}
