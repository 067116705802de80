import type { Fence } from '../domain/fence.ts';
import { UnideployError } from '../errors.ts';
import { embeddedDataPlane } from '../proxy/embedded/client.ts';
import { haproxyDataPlane } from '../proxy/haproxy/index.ts';
import type { DataPlane } from '../proxy/port.ts';
import type { StatePaths } from './paths.ts';
import { chooseProxyEngine, type ProxyEngine, proxyEngineOf } from './proxy-engine.ts';

const ENGINES: Record<ProxyEngine, (options: { state: string; fence: Fence }) => DataPlane> = {
  embedded: embeddedDataPlane,
  haproxy: haproxyDataPlane,
};

/**
 * The data plane of a state: the one that was asked for first, for every controller to come. Another one takes over only
 * while nothing is served, since it cannot have the ports of the one before.
 * @throws UD_USAGE; UD_TOOL_MISSING
 */
export async function dataPlaneOf(
  paths: StatePaths,
  fence: Fence,
  asked: ProxyEngine | undefined,
  services: string[],
): Promise<DataPlane> {
  const chosen = await proxyEngineOf(paths);
  const engine = asked ?? chosen;
  const dataPlane = ENGINES[engine]({ state: paths.root, fence });
  if (engine === chosen) return dataPlane;
  if (services.length > 0)
    throw new UnideployError(
      'UD_USAGE',
      `the data plane of ${paths.root} is ${chosen}, and serves ${services.join(', ')}`,
      `take the services down first, or start without --proxy ${engine}`,
    );
  await dataPlane.ensure();
  await ENGINES[chosen]({ state: paths.root, fence }).stop();
  await chooseProxyEngine(paths, engine);
  return dataPlane;
}
