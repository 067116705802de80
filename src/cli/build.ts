import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { buildRevision } from '../artifact/revision.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import type { Client } from '../daemon/client.ts';
import type { DeployRequest } from '../daemon/messages.ts';
import { hookRunner } from '../hooks/run.ts';
import type { Context } from './context.ts';
import { checkedPolicy } from './policy.ts';
import { checkedTraffic } from './traffic.ts';

export interface Built {
  service: string;
  request: DeployRequest;
  /** Gives the controller the artifacts that it does not have. */
  upload(client: Client): Promise<void>;
}

/**
 * Builds what the config says, here, where its sources and its tools are; what was built is there until `use` has ended.
 * @param signal ends the hooks before it
 */
export async function withBuilt<T>(
  context: Context,
  kind: DeployRequest['kind'],
  use: (built: Built) => Promise<T>,
  signal: AbortSignal = new AbortController().signal,
): Promise<T> {
  const config = await loadConfig(context.file);
  await runPreBuild(context, config, signal);
  const workDir = await mkdtemp(join(tmpdir(), 'unideploy-build-'));
  try {
    const { spec, files } = await buildRevision(config, workDir, (line) => context.renderer.build(line));
    const { service, replicas, listen, health } = config;
    const traffic = await checkedTraffic(config.traffic);
    const policy = await checkedPolicy(config.rollout);
    const gitCommit = await commitOf(config);
    const { performer } = context;
    return await use({
      service,
      request: { kind, spec, replicas, listen, traffic, policy, health, performer, gitCommit },
      upload: async (client) => {
        for (const [digest, file] of files) await client.upload(digest, file);
      },
    });
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

/** @throws UD_HOOK_FAILED, UD_DEADLINE: nothing was built, and nothing has changed */
async function runPreBuild(
  { performer, renderer }: Context,
  { service, rollout }: Config,
  signal: AbortSignal,
): Promise<void> {
  const hooks = hookRunner((line) => renderer.build(line));
  const nothingYet = { rollout: null, from: null, to: null, instances: [], reason: null };
  for (const hook of rollout.hooks['pre-build'])
    await hooks.run(hook, { point: 'pre-build', service, performer, ...nothingYet }, signal);
}

/** The commit that the config's folder stands at; null outside a repository, or without git. */
async function commitOf({ folder }: Config): Promise<string | null> {
  const { stdout, exitCode } = await execa('git', ['rev-parse', 'HEAD'], { cwd: folder, reject: false });
  return exitCode === 0 ? stdout.trim() : null;
}
