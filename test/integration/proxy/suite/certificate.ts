import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { onTestFinished } from 'vitest';

/** PEM files. */
export interface Pair {
  certificate: string;
  key: string;
}

/** A certificate for this name, signed by itself, in a folder that goes with the test. */
export async function certificate(name: string): Promise<Pair> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-tls-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const pair = { certificate: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  await promisify(execFile)('openssl', [
    ...['req', '-x509', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-days', '2'],
    ...['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`],
    ...['-keyout', pair.key, '-out', pair.certificate],
  ]);
  return pair;
}

/** Puts another pair in the place of one, each file at once. */
export async function replace(pair: Pair, next: Pair): Promise<void> {
  for (const part of ['key', 'certificate'] as const) {
    await copyFile(next[part], `${pair[part]}.new`);
    await rename(`${pair[part]}.new`, pair[part]);
  }
}
