import type { SecureContext } from 'node:tls';
import { UnideployError } from '../../../errors.ts';
import type { Log } from '../log.ts';
import { KeyPairFiles, Unusable } from './keypair.ts';

/** ms between two looks at the files; a change is taken once two looks have found the same */
const LOOK = 1_000;
const DAY = 86_400_000;

/** The certificate of one service on a listener: PEM files, and the hosts whose requests are the service's. */
export interface CertificateEntry {
  service: string;
  /** host names, `*.example.com` for all names one label below; those in the certificate need not be repeated */
  hosts: string[];
  certificate: string;
  key: string;
}

export interface Expiry {
  service: string;
  certificate: string;
  notAfter: Date;
  /** whole days until then, negative afterwards */
  days: number;
}

/**
 * The certificates of one listener, by host name. Files are read again when they change, however they are replaced: in
 * place, by a rename, or by a link that leads elsewhere. A connection keeps the certificate it began with.
 */
export class Certificates {
  readonly #log: Log;
  #served: Served[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * Takes the entries of all services over, whole or not at all. Files that are in use already are not read again. New
   * ones have to be in order (UD_TLS: names the file and the cause).
   */
  apply(entries: readonly CertificateEntry[]): void {
    const served = entries.map((entry) => {
      const known = this.#served.find((candidate) => sameFiles(candidate.entry, entry));
      const hosts = new Set(entry.hosts.map((host) => host.toLowerCase()));
      return { entry, hosts, files: known?.files ?? firstRead(entry, this.#log) };
    });
    this.#served = served;
    if (served.length === 0) this.close();
    else this.#timer ??= setInterval(() => this.#look(), LOOK).unref();
  }

  /**
   * The certificate for a client that asks for a name: of the service that has this host, else of the one whose
   * certificate has it, else by their wildcards, else (a client that asks for none, too) of the first service.
   */
  context(servername: string | undefined): SecureContext | undefined {
    const name = servername?.toLowerCase().replace(/\.$/, '') ?? '';
    const parent = `*${name.slice(name.indexOf('.'))}`;
    const served =
      this.#served.find(({ hosts }) => hosts.has(name)) ??
      this.#served.find(({ files }) => names(files, name, false)) ??
      this.#served.find(({ hosts }) => name.includes('.') && hosts.has(parent)) ??
      this.#served.find(({ files }) => names(files, name, true)) ??
      this.#served[0];
    return served?.files.pair.context;
  }

  /** When the certificates in use expire. */
  expiries(now = Date.now()): Expiry[] {
    return this.#served.map(({ entry: { service, certificate }, files }) => {
      const notAfter = new Date(files.pair.certificate.validTo);
      return { service, certificate, notAfter, days: Math.floor((notAfter.getTime() - now) / DAY) };
    });
  }

  /** Looks at the files no more. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    for (const { files } of this.#served) void files.look();
  }
}

interface Served {
  entry: CertificateEntry;
  hosts: ReadonlySet<string>;
  files: KeyPairFiles;
}

function sameFiles(a: CertificateEntry, b: CertificateEntry): boolean {
  return a.service === b.service && a.certificate === b.certificate && a.key === b.key;
}

function names({ pair }: KeyPairFiles, name: string, wildcards: boolean): boolean {
  if (name === '') return false;
  return pair.certificate.checkHost(name, { wildcards, partialWildcards: false }) !== undefined;
}

function firstRead(entry: CertificateEntry, log: Log): KeyPairFiles {
  try {
    return new KeyPairFiles(entry, log);
  } catch (error) {
    if (!(error instanceof Unusable)) throw error;
    throw new UnideployError(
      'UD_TLS',
      `TLS of ${entry.service} cannot be served: ${error.file} is ${error.message}`,
      'put a PEM certificate and its unencrypted PEM key there, readable for the data plane, and apply again',
      { cause: error },
    );
  }
}
