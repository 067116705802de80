import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import pRetry from 'p-retry';
import type { Client } from '../daemon/client.ts';
import { metricsAddressOf, writeAddress } from '../daemon/metrics-address.ts';
import { makeStateFolder, type StatePaths } from '../daemon/paths.ts';
import { proxyEngineOf } from '../daemon/proxy-engine.ts';
import { isSilent } from '../daemon/silent.ts';
import { startDetached } from '../detached.ts';
import { ERROR_CODES, UnideployError } from '../errors.ts';
import type { MetricsOption } from './metrics-option.ts';
import type { ProxyOption } from './proxy-option.ts';

/** The launcher: two folders above the compiled file is `dist`, and `bin` stands beside that. */
const LAUNCHER = fileURLToPath(new URL('../../../bin/unideploy', import.meta.url));

/** How long a controller may take until it answers, in ms: it waits for a busy machine, too. */
const STARTS_WITHIN = 30_000;

/**
 * Starts a controller in the background, unless one runs that is not silent for too long. Returns whether it was started here.
 * @throws UD_USAGE when the one that runs has another data plane, or metrics elsewhere, than asked for
 */
export async function ensureController(
  client: Client,
  paths: StatePaths,
  asked: ProxyOption & MetricsOption,
): Promise<boolean> {
  if (!isSilent(paths) && (await answers(client))) {
    await expectSame(paths, asked);
    return false;
  }
  await makeStateFolder(paths);
  const { proxy, metrics } = asked;
  const options = [
    ...(proxy === undefined ? [] : ['--proxy', proxy]),
    ...(metrics === undefined ? [] : ['--metrics', writeAddress(metrics)]),
  ];
  const child = startDetached(process.execPath, [LAUNCHER, 'serve', '--state', paths.root, ...options], {
    log: paths.log,
    cwd: '/',
  });
  let exitCode: number | null = null;
  void child.then((result) => {
    exitCode = result.exitCode ?? -1;
  });
  /** Another one was started at the same moment and has the state: that one will answer. */
  const beaten = () => exitCode === ERROR_CODES.UD_CONTROLLER_RUNNING;
  const attempt = async () => {
    if (await answers(client)) return !beaten();
    throw new Error(exitCode === null ? 'it does not answer' : `it exited with ${exitCode}`);
  };
  try {
    return await pRetry(attempt, {
      retries: STARTS_WITHIN / 50,
      maxRetryTime: STARTS_WITHIN,
      minTimeout: 50,
      factor: 1,
      shouldRetry: () => exitCode === null || beaten(),
    });
  } catch (error) {
    child.kill();
    const last = (await readFile(paths.log, 'utf8')).trim().split('\n').at(-1) ?? '';
    const message = `the controller did not start, ${(error as Error).message}; its last words: ${last}`;
    throw new UnideployError('UD_CONTROLLER_NOT_RUNNING', message, `read ${paths.log}`, { cause: error });
  }
}

async function expectSame(paths: StatePaths, { proxy, metrics }: ProxyOption & MetricsOption): Promise<void> {
  const chosen = await proxyEngineOf(paths);
  if (proxy !== undefined && proxy !== chosen)
    throw new UnideployError(
      'UD_USAGE',
      `the controller of ${paths.root} runs already, with the data plane ${chosen}`,
      `take its services down first, or call without --proxy ${proxy}`,
    );
  if (metrics === undefined) return;
  const asked = writeAddress(metrics);
  const has = writeAddress(await metricsAddressOf(paths));
  if (asked !== has)
    throw new UnideployError(
      'UD_USAGE',
      `the controller of ${paths.root} runs already, with --metrics ${has}`,
      `end it, which stops nothing else, and start it with: unideploy serve --metrics ${asked}`,
    );
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
