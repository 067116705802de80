import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { UnideployError } from '../../errors.ts';
import type { RoutingTable } from '../port.ts';
import { claimsOf } from './claims.ts';
import { certificateFile, type ProcessFiles } from './records.ts';

/**
 * Reads a service's certificate and key as one text, checked: HAProxy only ever reads copies of good ones, so that a bad
 * file stops neither another service nor the next process. UD_TLS.
 */
export async function readCertificate({ service, traffic: { tls } }: RoutingTable): Promise<string> {
  if (tls === null) return '';
  try {
    const [cert, key] = await Promise.all([readFile(tls.certificate, 'utf8'), readFile(tls.key, 'utf8')]);
    createSecureContext({ cert, key });
    if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
      throw new Error('the key is not that of the certificate');
    return `${cert.trim()}\n${key.trim()}\n`;
  } catch (error) {
    throw new UnideployError(
      'UD_TLS',
      `TLS of ${service} cannot be served: ${(error as Error).message}`,
      `put a PEM certificate and its unencrypted PEM key into ${tls.certificate} and ${tls.key}, and apply again`,
      { cause: error },
    );
  }
}

/** Writes the copies of the certificates, and which host each is for: the name a client asks for chooses. */
export async function writeCertificates(
  files: ProcessFiles,
  tables: RoutingTable[],
  pems: Map<string, string>,
): Promise<void> {
  const secure = tables.filter(({ traffic }) => traffic.tls !== null);
  const lines: string[] = [];
  for (const table of secure) {
    const file = certificateFile(files, table.service);
    await writeFile(file, pems.get(table.service) ?? '', { mode: 0o600 });
    const hosts = claimsOf([table]).flatMap(({ host }) => host ?? []);
    lines.push([file.replaceAll(' ', '\\ '), ...new Set(hosts)].join(' '));
  }
  // the first is for clients that name no host, or one that nobody has
  lines.sort((a, b) => Number(a.includes('.pem ')) - Number(b.includes('.pem ')));
  await writeFile(files.certificates, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });
}

/** What changes when somebody writes one of the files. */
export async function stampOf({ traffic: { tls } }: RoutingTable): Promise<string> {
  if (tls === null) return '';
  const times = await Promise.all(
    [tls.certificate, tls.key].map((file) =>
      stat(file).then(
        ({ mtimeMs, ino, size }) => `${mtimeMs}/${ino}/${size}`,
        () => 'missing',
      ),
    ),
  );
  return times.join(' ');
}
