import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Of a log that is longer the beginning and the end are kept, each of so many bytes. */
const KEPT = 1 << 20;
/** Logs of one service that are kept in a folder, that of the newest build among them. */
const LOGS = 20;

/** What the commands of one build have said, in a file that is bounded, whatever they say. */
export class BuildLog {
  readonly path: string;
  readonly #file: number;
  readonly #kept: number;
  #written = 0;
  #closed = false;
  /** what came when the beginning was full; the newest last */
  #last: string[] = [];
  #lastSize = 0;
  #left = 0;

  constructor(path: string, kept = KEPT) {
    this.path = path;
    this.#kept = kept;
    this.#file = openSync(path, 'wx', 0o600);
  }

  /** Makes a file for the next build of a service, and removes the oldest of its logs. */
  static open(folder: string, service: string, now: Date): BuildLog {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const named = new RegExp(`^${service}\\.[0-9TZ]+\\.\\d+\\.log$`);
    const earlier = readdirSync(folder)
      .filter((name) => named.test(name))
      .sort();
    for (const name of earlier.slice(0, -(LOGS - 1))) rmSync(join(folder, name), { force: true });
    const time = now.toISOString().replaceAll(/[-:.]/g, '');
    return new BuildLog(join(folder, `${service}.${time}.${process.pid}.log`));
  }

  line(text: string): void {
    if (this.#closed) return;
    const line = `${text.slice(0, this.#kept)}\n`;
    if (this.#left === 0 && this.#last.length === 0 && this.#written + line.length <= this.#kept) {
      this.#written += line.length;
      writeSync(this.#file, line);
      return;
    }
    this.#last.push(line);
    this.#lastSize += line.length;
    while (this.#lastSize > this.#kept) {
      this.#lastSize -= this.#last.shift()?.length ?? 0;
      this.#left++;
    }
  }

  /** Writes what is kept of the end. Nothing may come after it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#left > 0) writeSync(this.#file, `… ${this.#left} lines are left out here …\n`);
    writeSync(this.#file, this.#last.join(''));
    closeSync(this.#file);
  }
}
