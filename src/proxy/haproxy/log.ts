import { appendFile } from 'node:fs/promises';

/** Lines of JSON at the end of a file, in the order in which they were said. */
export class LogFile {
  readonly #path: string;
  #waiting: string[] = [];
  #writing: Promise<void> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  add(line: string): void {
    this.#waiting.push(`${line}\n`);
    this.#writing ??= this.#write();
  }

  /** Resolves when all that was said is in the file. */
  async flushed(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const text = this.#waiting.join('');
      this.#waiting = [];
      // a full disk costs lines, nothing else
      await appendFile(this.#path, text, { mode: 0o600 }).catch(() => undefined);
    }
    this.#writing = undefined;
  }
}
