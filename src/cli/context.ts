import { readFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { apiClient, type Client } from '../daemon/client.ts';
import type { Elsewhere } from '../daemon/link.ts';
import { type StatePaths, statePaths } from '../daemon/paths.ts';
import { UnideployError } from '../errors.ts';
import { Secrets } from '../secrets.ts';
import { githubRenderer } from './render/github.ts';
import { jsonRenderer } from './render/json.ts';
import { linesRenderer } from './render/lines.ts';
import type { Renderer } from './render/renderer.ts';
import { veiledRenderer } from './render/veiled.ts';

/** What every command is given: where the state is, how to speak to the user, and what the user said. */
export interface Context {
  paths: StatePaths;
  /** the controller, where it is not the one of `paths` */
  elsewhere: Elsewhere | null;
  json: boolean;
  /** path of the config as the user named it */
  file: string;
  /** from `--service`; null: the config's, or the only one that runs */
  service: string | null;
  renderer: Renderer;
  /** who is to be written into the journal */
  performer: string;
}

interface GlobalOptions {
  state?: string;
  api?: string;
  apiCa?: string;
  json?: boolean;
  file: string;
  service?: string;
}

/** Of this process: what is in its environment, and what the config says is secret. */
export const secrets = new Secrets();

/** No renderer shows a secret. */
export async function rendererOf(command: Command): Promise<Renderer> {
  return veiledRenderer(await plainRendererOf(command), secrets);
}

/** The live display is loaded only for a terminal: a pipeline need not wait for it. */
async function plainRendererOf(command: Command): Promise<Renderer> {
  if (command.optsWithGlobals<GlobalOptions>().json) return jsonRenderer();
  const { isTTY } = process.stdout;
  if (!isTTY && process.env.GITHUB_ACTIONS === 'true') return githubRenderer(process.env.GITHUB_STEP_SUMMARY);
  if (!isTTY) return linesRenderer();
  return (await import('./render/terminal.ts')).terminalRenderer();
}

/** @throws UD_STATE_PATH, UD_USAGE */
export function contextOf(command: Command, renderer: Renderer): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  const { state, json = false, file, service } = options;
  return {
    paths: statePaths(state),
    elsewhere: elsewhereOf(options),
    json,
    file,
    service: service ?? null,
    renderer,
    performer:
      process.env.UNIDEPLOY_PERFORMER ?? process.env.GITHUB_ACTOR ?? `${userInfo().username}@${hostname()}`,
  };
}

/** A token is never on a command line, where every user of the machine could read it. @throws UD_USAGE */
function elsewhereOf({ api, apiCa }: GlobalOptions): Elsewhere | null {
  if (api === undefined) return null;
  const url = URL.canParse(api) ? new URL(api) : null;
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '' || url.pathname !== '/')
    throw new UnideployError(
      'UD_USAGE',
      'a controller elsewhere is spoken to over TLS alone',
      'expected --api https://host:port, the token in UNIDEPLOY_TOKEN',
    );
  const token = process.env.UNIDEPLOY_TOKEN ?? '';
  if (!/^[!-~]+$/.test(token))
    throw new UnideployError(
      'UD_USAGE',
      'a controller elsewhere wants a token, and UNIDEPLOY_TOKEN has none',
      'make one where its state is: unideploy token create --scope deploy --name ci',
    );
  try {
    return { origin: url.origin, token, ca: apiCa === undefined ? null : readFileSync(apiCa, 'utf8') };
  } catch (error) {
    const message = `--api-ca cannot be read: ${(error as Error).message}`;
    throw new UnideployError('UD_USAGE', message, 'name a PEM file', { cause: error });
  }
}

/** Does something with the controller, and lets go of it. */
export async function withClient<T>(
  { paths, elsewhere }: Context,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = apiClient(paths, elsewhere);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

/** The service a command is about: as said, or the config's, or, where there is no config, the only one that runs. */
export async function serviceOf(context: Context, client: Client): Promise<string> {
  if (context.service !== null) return context.service;
  try {
    return (await loadConfig(context.file)).service;
  } catch (error) {
    if (!(error instanceof UnideployError) || error.code !== 'UD_CONFIG_NOT_FOUND') throw error;
    const running = (await client.services()).map(({ name }) => name);
    const [only] = running;
    if (only !== undefined && running.length === 1) return only;
    const message = `which service? No ${context.file} here, and running are: ${running.join(', ') || 'none'}`;
    throw new UnideployError('UD_UNKNOWN_SERVICE', message, 'name it with --service', { cause: error });
  }
}
