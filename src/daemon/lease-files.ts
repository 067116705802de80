import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Lease } from '../domain/lease.ts';
import type { ProcessIdentity } from './process-identity.ts';

/** A lease as it is on disk, with its holder. */
export type Held = Lease & ProcessIdentity;

/**
 * The leases of a state folder: a file for each token. A token is taken by making its file, which only one process can;
 * nobody ever writes another one's. So a late holder that renews changes nothing for those after it.
 */
export class LeaseFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** Every lease there is, lowest token first. */
  all(): Held[] {
    return readdirSync(this.#folder)
      .flatMap((name) => (/^\d+$/.test(name) ? (this.#read(name) ?? []) : []))
      .sort((a, b) => a.token - b.token);
  }

  /** Takes a token; false where somebody has it. */
  claim(lease: Held): boolean {
    const fresh = this.#write(lease);
    try {
      linkSync(fresh, this.#file(lease.token));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    } finally {
      rmSync(fresh, { force: true });
    }
  }

  /** Writes one's own lease again. */
  renew(lease: Held): void {
    renameSync(this.#write(lease), this.#file(lease.token));
  }

  /** Needs no file descriptor, and costs one system call: asked before every action. */
  isTaken(token: number): boolean {
    return existsSync(this.#file(token));
  }

  forget(token: number): void {
    rmSync(this.#file(token), { force: true });
  }

  /** Takes away what holders before that one were writing when they ended, or are: theirs is late. */
  forgetHalves(token: number): void {
    for (const name of readdirSync(this.#folder))
      if (Number(/^(\d+)\.\d+$/.exec(name)?.[1] ?? token) < token)
        rmSync(join(this.#folder, name), { force: true });
  }

  #write(lease: Held): string {
    const fresh = `${this.#file(lease.token)}.${lease.pid}`;
    writeFileSync(fresh, JSON.stringify(lease), { mode: 0o600 });
    return fresh;
  }

  /** Null for one that has just gone. What a power failure has torn is a lease that is over. */
  #read(name: string): Held | null {
    try {
      return JSON.parse(readFileSync(join(this.#folder, name), 'utf8')) as Held;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      return { token: Number(name), until: 0, pid: 0, started: '', boot: '', namespace: '' };
    }
  }

  #file(token: number): string {
    return join(this.#folder, String(token));
  }
}
