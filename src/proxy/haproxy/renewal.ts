import { writeFile } from 'node:fs/promises';
import type { RoutingTable } from '../port.ts';
import { readCertificate, stampOf } from './certificates.ts';
import { LIMITS } from './limits.ts';
import type { Processes } from './processes.ts';
import { certificateFile, servedBy } from './records.ts';
import type { Turns } from './turns.ts';

/** Takes certificate files over that have changed. Bad ones are told of, and the certificate stays as it was. */
export class Renewal {
  readonly #processes: Processes;
  readonly #turns: Turns;
  readonly #say: (level: 'info' | 'error', message: string, service: string) => void;
  /** of the files that were read last, by the service */
  readonly #read = new Map<string, string>();
  /** at the last look: files that are being written are left alone until they have settled */
  readonly #seen = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    processes: Processes,
    turns: Turns,
    say: (level: 'info' | 'error', message: string, service: string) => void,
  ) {
    this.#processes = processes;
    this.#turns = turns;
    this.#say = say;
  }

  begin(): void {
    const look = () => void this.#look().catch(() => undefined);
    this.#timer ??= setInterval(look, LIMITS.certificates).unref();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<void> {
    const tables = (await this.#processes.serving()).flatMap(({ services }) =>
      services.map(({ table }) => table),
    );
    for (const table of tables.filter(({ traffic }) => traffic.tls !== null)) {
      const { service } = table;
      const stamp = await stampOf(table);
      const settled = this.#seen.get(service) === stamp;
      this.#seen.set(service, stamp);
      if (!settled || stamp === this.#read.get(service)) continue;
      this.#read.set(service, stamp);
      try {
        if (await this.#renew(table)) this.#say('info', 'certificate replaced', service);
      } catch (error) {
        this.#say('error', `the certificate stays as it was: ${(error as Error).message}`, service);
      }
    }
  }

  async #renew(table: RoutingTable): Promise<boolean> {
    const pem = await readCertificate(table);
    let renewed = false;
    await this.#turns.take(async () => {
      for (const record of await this.#processes.running()) {
        const file = certificateFile(this.#processes.files(record), table.service);
        if (!servedBy(record, table.service) || (await this.#processes.textOf(file)) === pem) continue;
        await this.#processes.runtime(record).setCertificate(file, pem);
        await writeFile(file, pem, { mode: 0o600 });
        renewed = true;
      }
    });
    return renewed;
  }
}
