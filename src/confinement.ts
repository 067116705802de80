import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { execa } from 'execa';
import { UnideployError } from './errors.ts';

/** What a confined program may use at most; it dumps no core in any case. */
export interface Limits {
  /** bytes of memory that it may map, shared libraries and reserved ranges included */
  addressSpace: number;
  /** bytes that a file it writes may have; a write past that fails and kills nobody */
  fileSize: number;
  openFiles: number;
  /** seconds of processor time; left out: for ever */
  cpuSeconds?: number;
}

/** Whom a confined program runs as, with a group of the same number. */
export interface User {
  uid: number;
  /** further groups: the one that may use KVM */
  groups: number[];
}

/** Users for confined programs, or the reason why they run as this process's own. */
export type Users = { first: number; count: number; groups: number[] } | { why: string };

/** The environment of confined programs: nothing else of ours, for it may hold secrets. */
export function confinedEnvironment(): { PATH: string; LC_ALL: string } {
  return { PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' };
}

/** The programs that confine others. */
export const CONFINING = ['env', 'prlimit', 'setpriv'];

/**
 * The words that run a program under limits, without any privilege, as another user where there is one. Each of these
 * programs replaces itself by the next: the process that is started is the program's own.
 */
export function confined(words: string[], { user, limits }: { user: User | null; limits: Limits }): string[] {
  const { addressSpace, fileSize, openFiles, cpuSeconds } = limits;
  return [
    // A guest that fills its console loses lines, and not its life.
    ...['env', '--ignore-signal=XFSZ'],
    ...['prlimit', `--as=${addressSpace}`, `--fsize=${fileSize}`, `--nofile=${openFiles}`, '--core=0'],
    ...(cpuSeconds === undefined ? [] : [`--cpu=${cpuSeconds}`]),
    ...['--', 'setpriv', '--no-new-privs'],
    ...(user === null ? [] : asUser(user)),
    ...['--', ...words],
  ];
}

function asUser({ uid, groups }: User): string[] {
  return [
    ...[`--reuid=${uid}`, `--regid=${uid}`],
    groups.length === 0 ? '--clear-groups' : `--groups=${groups.join(',')}`,
    ...['--inh-caps=-all', '--bounding-set=-all'],
  ];
}

/** One of the users, always the same one for the same key, hardly ever the same for two. */
export function userFor(users: Users, key: string): User | null {
  if ('why' in users) return null;
  const { first, count, groups } = users;
  return { uid: first + (createHash('sha256').update(key).digest().readUInt32BE(0) % count), groups };
}

/** Nobody has these: https://systemd.io/UIDS-GIDS/ calls the first range unused, the second one is for passing users. */
const RANGES = [
  { first: 1_879_048_192, count: 268_000_000 },
  { first: 61_184, count: 4_336 },
];

/** The first range of users that is whole in a user namespace. @param uidMap of /proc/self/uid_map */
export function rangeIn(uidMap: string): { first: number; count: number } | null {
  const known = uidMap
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .map(([inside = 0, , length = 0]) => ({ from: inside, to: inside + length }));
  const isWhole = ({ first, count }: { first: number; count: number }) =>
    known.some(({ from, to }) => from <= first && first + count <= to);
  return RANGES.find(isWhole) ?? null;
}

/** `1000000-1065535` */
function readRange(text: string): { first: number; count: number } {
  const [, first, last] = /^(\d{1,10})-(\d{1,10})$/.exec(text) ?? [];
  if (first === undefined || Number(first) < 1 || Number(last) < Number(first))
    throw new UnideployError(
      'UD_USAGE',
      `UNIDEPLOY_GUEST_UIDS is no range of uids: ${text}`,
      'say one that nobody has, such as 1000000-1065535, or off',
    );
  return { first: Number(first), count: Number(last) - Number(first) + 1 };
}

/**
 * Finds out whether confined programs can run as users of their own here.
 * @param asked `first-last`, the uids to take; `off`: none
 * @throws UD_USAGE when it is neither: guests must not run as root by a slip of the pen
 */
export async function findUsers(asked = process.env.UNIDEPLOY_GUEST_UIDS): Promise<Users> {
  const wanted = asked === undefined || asked === 'off' ? null : readRange(asked);
  if (asked === 'off') return { why: 'UNIDEPLOY_GUEST_UIDS is off' };
  if (process.getuid?.() !== 0) return { why: 'the controller is not root' };
  const range = wanted ?? rangeIn(await readFile('/proc/self/uid_map', 'utf8'));
  if (range === null) return { why: 'there are no users to spare in this namespace' };
  const users = { ...range, groups: await kvmGroup() };
  const user = userFor(users, 'try');
  const [program = '', ...words] = confined(['true'], { user, limits: TRIAL });
  const { failed, shortMessage } = await execa(program, words, { reject: false, timeout: 10_000 });
  return failed
    ? { why: `this process may not become another user: ${shortMessage?.split('\n')[0]}` }
    : users;
}

const TRIAL: Limits = { addressSpace: 1 << 30, fileSize: 0, openFiles: 64 };

/** Of /dev/kvm, where it is for a group of its own. */
async function kvmGroup(): Promise<number[]> {
  const device = await stat('/dev/kvm').catch(() => null);
  return device !== null && (device.mode & 0o060) === 0o060 && device.gid !== 0 ? [device.gid] : [];
}
