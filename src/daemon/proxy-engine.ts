import { readFile, rename, writeFile } from 'node:fs/promises';
import type { StatePaths } from './paths.ts';

/** What serves the clients of a state's services. */
export type ProxyEngine = 'embedded' | 'haproxy';

export const PROXY_ENGINES: readonly ProxyEngine[] = ['embedded', 'haproxy'];

/** The engine that the state's controllers use. */
export async function proxyEngineOf({ proxyEngine }: StatePaths): Promise<ProxyEngine> {
  const name = (await readFile(proxyEngine, 'utf8').catch(() => '')).trim();
  return PROXY_ENGINES.find((engine) => engine === name) ?? 'embedded';
}

/** From now on, for every controller to come. */
export async function chooseProxyEngine({ proxyEngine }: StatePaths, engine: ProxyEngine): Promise<void> {
  await writeFile(`${proxyEngine}.new`, `${engine}\n`, { mode: 0o600 });
  await rename(`${proxyEngine}.new`, proxyEngine);
}
