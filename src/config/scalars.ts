import ms, { type StringValue } from 'ms';
import { z } from 'zod';
import type { Amount } from '../domain/policy.ts';

/** Every scalar says what it expects; the loader puts the key and the value found in front. */

export function integer(min: number, max: number) {
  const error = `expected a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

export function choice<const T extends readonly string[]>(...values: T) {
  return z.enum(values, { error: `expected ${list(values)}` });
}

/** A name of at most `length` characters, fit for file names, QEMU ids and volume labels. */
export function name(length: number) {
  return pattern(
    new RegExp(`^[a-z][a-z0-9-]{0,${length - 1}}$`),
    `expected a name of up to ${length} characters: a lower-case letter, then lower-case letters, digits or hyphens`,
  );
}

export function pattern(regex: RegExp, error: string) {
  return z.string({ error }).regex(regex, { error });
}

/** A path in the file system, relative to the config's folder. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a NUL in a path reaches no system call.
export const path = pattern(/^[^\x00]+$/, 'expected a path');

export const httpPath = pattern(/^\/[!-~]*$/, 'expected an HTTP path that starts with /');

export const command = pattern(/\S/, 'expected a shell command');

/** `500ms`, `30s`, `15m`, `1h`; becomes milliseconds. At least 1 ms, at most a day. */
export const duration = time(
  /^(?=.*[1-9])\d{1,6}(\.\d{1,3})?(ms|s|m|h)$/,
  'expected a duration with its unit such as 500ms, 30s or 15m',
).transform((time) => Math.max(1, time));

/** The same, or `0s`. */
export const delay = time(
  /^\d{1,6}(\.\d{1,3})?(ms|s|m|h)$/,
  'expected a duration with its unit such as 0s, 30s or 15m',
);

/** A word, which becomes `meant`, or a delay. */
export function delayOr<const T>(words: Readonly<Record<string, T>>) {
  const names = Object.keys(words);
  const word = z.enum(names).transform((name) => words[name] as T);
  const error = `expected ${names.join(', ')} or a duration of at most 24h such as 0s, 30s or 15m`;
  return z.union([word, delay], { error });
}

function time(regex: RegExp, error: string) {
  return pattern(regex, error)
    .transform((text) => Math.round(ms(text as StringValue)))
    .refine((time) => time <= ms('24h'), { error: 'expected a duration of at most 24h' });
}

const MEMORY = 'expected an amount of memory of at least 16M such as 128M or 1G';

/** `128M`, `1G`; becomes MiB. */
export const memory = pattern(/^[1-9]\d{0,5}[MG]$/, MEMORY)
  .transform((text) => Number.parseInt(text, 10) * (text.endsWith('G') ? 1024 : 1))
  .refine((mebibytes) => mebibytes >= 16, { error: MEMORY });

/** `16K`, `16M`, `1G`, from `min` to `max`; becomes bytes. */
export function size(min: string, max: string) {
  const error = `expected a size from ${min} to ${max} such as 16K or 16M`;
  return pattern(/^[1-9]\d{0,6}[KMG]$/, error)
    .transform(bytes)
    .refine((size) => bytes(min) <= size && size <= bytes(max), { error });
}

function bytes(text: string): number {
  return Number.parseInt(text, 10) * 1024 ** ('KMG'.indexOf(text.slice(-1)) + 1);
}

/** `50%`; becomes 50. */
export const percentage = perCent(/^(\d|[1-9]\d|100)%$/, 'expected a percentage from 0% to 100%');

/** The same for a part that leaves something: neither nothing nor all. */
export const part = perCent(/^([1-9]|[1-9]\d)%$/, 'expected a percentage from 1% to 99%');

function perCent(regex: RegExp, error: string) {
  return pattern(regex, error).transform((text) => Number.parseInt(text, 10));
}

const HOST_NAME = 'expected the name of a host such as shop.example.com, without a port';

/** Becomes lower-case: names of hosts are alike in either. */
export const hostName = pattern(/^[A-Za-z0-9._-]{1,253}$/, HOST_NAME)
  .refine((text) => URL.canParse(`http://${text}/`), { error: HOST_NAME })
  .transform((text) => text.toLowerCase());

/** A count of instances, or a share of the replicas. */
export function share() {
  const error = 'expected a number of instances from 0 to 500 or a percentage such as 25%';
  return z
    .union([integer(0, 500), pattern(/^(\d|[1-9]\d|100)%$/, error)], { error })
    .transform((value) => value as Amount);
}

/** A port, or `host:port`; IPv6 hosts stand in brackets. */
export function listen() {
  const error = 'expected a port from 0 to 65535 (0: the system chooses) or "host:port"';
  const hostAndPort = pattern(/^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/, error);
  return z
    .union([integer(0, 65535), hostAndPort], { error })
    .transform((value) => (typeof value === 'number' ? { host: '127.0.0.1', port: value } : split(value)))
    .refine(({ port }) => port <= 65535, { error });
}

function split(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}

function list(values: readonly string[]): string {
  return values.length === 1 ? `${values[0]}` : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}
