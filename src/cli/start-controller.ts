import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import pRetry from 'p-retry';
import type { Client } from '../daemon/client.ts';
import type { StatePaths } from '../daemon/paths.ts';
import { startDetached } from '../detached.ts';
import { UnideployError } from '../errors.ts';

/** The launcher: two folders above the compiled file is `dist`, and `bin` stands beside that. */
const LAUNCHER = fileURLToPath(new URL('../../../bin/unideploy', import.meta.url));

/** Starts a controller in the background, unless one runs. Returns whether it was started here. */
export async function ensureController(client: Client, paths: StatePaths): Promise<boolean> {
  if (await answers(client)) return false;
  await mkdir(paths.root, { recursive: true, mode: 0o700 });
  const child = startDetached(process.execPath, [LAUNCHER, 'serve', '--state', paths.root], {
    log: paths.log,
    cwd: '/',
  });
  const ended = child.then(({ exitCode }) => exitCode ?? -1);
  try {
    await pRetry(
      async () => {
        const exitCode = await Promise.race([ended, answers(client)]);
        if (typeof exitCode === 'number') throw new Error(`it exited with ${exitCode}`);
        if (!exitCode) throw new Error('it does not answer');
      },
      {
        retries: 100,
        minTimeout: 50,
        factor: 1,
        shouldRetry: ({ error }) => !error.message.startsWith('it exited'),
      },
    );
  } catch (error) {
    const last = (await readFile(paths.log, 'utf8')).trim().split('\n').at(-1) ?? '';
    const message = `the controller did not start: ${(error as Error).message}: ${last}`;
    throw new UnideployError('UD_CONTROLLER_NOT_RUNNING', message, `read ${paths.log}`, { cause: error });
  }
  return true;
}

async function answers(client: Client): Promise<boolean> {
  try {
    await client.ping();
    return true;
  } catch (error) {
    if (error instanceof UnideployError && error.code === 'UD_CONTROLLER_NOT_RUNNING') return false;
    throw error;
  }
}
