import { createPrivateKey, X509Certificate } from 'node:crypto';
import { type BigIntStats, readFileSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Log } from '../log.ts';

/** A certificate with its key, ready for connections. */
interface KeyPair {
  context: SecureContext;
  certificate: X509Certificate;
}

interface Paths {
  service: string;
  certificate: string;
  key: string;
}

/** A certificate and its key in files that may be replaced at any time; what was good last is kept. */
export class KeyPairFiles {
  readonly #paths: Paths;
  readonly #log: Log;
  #pair: KeyPair;
  /** what the files looked like when they were read, and at the last look */
  #read: string;
  #seen = '';
  #looking = false;
  /** of the last failure that was logged */
  #failure = '';

  /** Reads the files, or throws `Unusable`. */
  constructor(paths: Paths, log: Log) {
    this.#paths = paths;
    this.#log = log;
    // before they are read: a change in between is found at the next look
    this.#read = [paths.certificate, paths.key].map((path) => shape(statOf(path))).join();
    this.#pair = readKeyPair(paths);
  }

  get pair(): KeyPair {
    return this.#pair;
  }

  /** Reads the files again if they have changed, and have settled since the last look. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const { certificate, key } = this.#paths;
    const files = await Promise.all(
      [certificate, key].map((path) => stat(path, { bigint: true }).catch(() => undefined)),
    );
    this.#looking = false;
    const before = this.#seen;
    this.#seen = files.map(shape).join();
    if (this.#seen === this.#read || this.#seen !== before) return;
    this.#replace();
  }

  #replace(): void {
    const { service, certificate } = this.#paths;
    try {
      this.#pair = readKeyPair(this.#paths);
      this.#read = this.#seen;
      const { validTo } = this.#pair.certificate;
      this.#log('info', 'certificate replaced', { service, file: certificate, validTo });
    } catch (error) {
      const { file, message } = error as Unusable;
      if (this.#failure === `${this.#seen} ${message}`) return;
      this.#failure = `${this.#seen} ${message}`;
      this.#log('error', 'the certificate stays as it was', { service, file, error: message });
    }
  }
}

function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}

/** What is different once a file has been replaced or written to. */
function shape(file: BigIntStats | undefined): string {
  return file ? [file.dev, file.ino, file.size, file.mtimeNs, file.ctimeNs].join(':') : 'absent';
}

/** Why a pair of files cannot be used. */
export class Unusable extends Error {
  /** the path of the file that is to blame */
  readonly file: string;

  constructor(file: string, cause: string) {
    super(cause);
    this.file = file;
  }
}

/** Reads a certificate (PEM, the rest of its chain after it) and its key, or throws `Unusable`; never a byte of the key. */
function readKeyPair(files: Paths): KeyPair {
  const cert = read(files.certificate);
  const key = read(files.key);
  const certificate = parsed(files.certificate, 'not a PEM certificate', () => new X509Certificate(cert));
  const parsedKey = parsed(files.key, 'not a PEM private key without a passphrase', () =>
    createPrivateKey(key),
  );
  if (!certificate.checkPrivateKey(parsedKey))
    throw new Unusable(files.key, `not the key of the certificate in ${files.certificate}`);
  // what is left to go wrong: the rest of the chain, or a key too weak for TLS
  const context = parsed(files.certificate, 'not usable for TLS', () =>
    createSecureContext({ cert, key, minVersion: 'TLSv1.2' }),
  );
  return { context, certificate };
}

function read(file: string): Buffer {
  // a pipe or a device would never come to its end
  if (statOf(file)?.isFile() === false) throw new Unusable(file, 'not a file');
  return parsed(file, 'not readable', () => readFileSync(file));
}

function parsed<T>(file: string, wrong: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Unusable(file, `${wrong} (${code ?? message})`);
  }
}
