import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** The built data plane in a folder of its own, as another version of it would be; returns the folder of its main file. */
export async function installed(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-built-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await cp(join(ROOT, 'dist'), join(folder, 'dist'), { recursive: true });
  await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return join(folder, 'dist', 'src', 'proxy', 'embedded', 'process');
}
