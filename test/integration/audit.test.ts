import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from './artifact/folder.ts';

const AUDIT = fileURLToPath(new URL('../../bin/audit', import.meta.url));

/** The audit, with a registry that answers so. */
async function audit(answer: unknown, env: Record<string, string> = {}) {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'answer'), typeof answer === 'string' ? answer : JSON.stringify(answer));
  await writeFile(join(folder, 'npm'), `#!/bin/sh\ncat '${folder}/answer'\nexit 1\n`);
  await chmod(join(folder, 'npm'), 0o755);
  const PATH = `${folder}:${process.env.PATH}`;
  const { exitCode, stdout } = await execa(AUDIT, [], { env: { PATH, ...env }, reject: false });
  return [exitCode, stdout.split('\n').at(-1)];
}
const known = (counts: Record<string, number>, names: string[]) => ({
  metadata: { vulnerabilities: { info: 0, low: 0, moderate: 0, high: 0, critical: 0, ...counts } },
  vulnerabilities: Object.fromEntries(names.map((name) => [name, {}])),
});

describe('the audit of the dependencies', () => {
  test('passes where nothing is known, and where what is known is lesser', async () => {
    expect(await audit(known({}, []))).toEqual([0, 'audit: nothing known']);
    expect(await audit(known({ moderate: 2 }, ['a', 'b']))).toEqual([
      0,
      'audit: nothing known that is high or critical, 2 lesser: a, b',
    ]);
  });

  test('fails where something high or critical is known', async () => {
    expect(await audit(known({ high: 1, critical: 1 }, ['bad', 'worse']))).toEqual([
      1,
      'audit: high or critical, 1 and 1: bad, worse',
    ]);
  });

  test('says that the registry refused, which proves nothing', async () => {
    const refused = { message: '405 Method Not Allowed', error: { summary: 'x' } };
    expect(await audit(refused)).toEqual([0, 'audit: refused, 405 Method Not Allowed']);
    expect(await audit('')).toEqual([0, 'audit: refused, npm said nothing that could be read']);
    expect(await audit(refused, { UNIDEPLOY_AUDIT: 'strict' })).toEqual([
      1,
      'audit: refused, 405 Method Not Allowed',
    ]);
  });
});
