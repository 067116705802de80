import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { execa } from 'execa';
import { type BuiltRevision, buildRevision } from '../artifact/revision.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import type { Client } from '../daemon/client.ts';
import type { DeployRequest } from '../daemon/messages.ts';
import type { Build } from '../domain/revision.ts';
import { hookRunner } from '../hooks/run.ts';
import { suspectedIn } from '../secrets.ts';
import { keepLog } from './build-log.ts';
import { type Context, secrets } from './context.ts';
import type { Interruption } from './interruption.ts';
import { checkedPolicy } from './policy.ts';
import { checkedTraffic } from './traffic.ts';

export interface Built {
  service: string;
  request: DeployRequest;
  /** Gives the controller the artifacts that it does not have. */
  upload(client: Client): Promise<void>;
}

/** How the deploy differs from the usual one. */
export type Asked = Pick<DeployRequest, 'kind'> &
  Partial<Pick<DeployRequest, 'expect' | 'force' | 'supersede'>>;

/**
 * Builds what the config says, here, where its sources and its tools are; what was built is there until `use` has ended.
 * @throws UD_INTERRUPTED, once the user's commands have ended
 */
export async function withBuilt<T>(
  context: Context,
  interruption: Interruption,
  { kind, expect = null, force = false, supersede = false }: Asked,
  use: (built: Built) => Promise<T>,
): Promise<T> {
  const config = await loadConfig(context.file);
  secrets.add(...suspectedIn(config.build?.env ?? {}));
  await runPreBuild(context, config, interruption.first);
  const workDir = await mkdtemp(join(tmpdir(), 'unideploy-build-'));
  try {
    const built = await build(config, workDir, context, interruption);
    const { spec, files } = built;
    const { service, replicas, listen, health, supervision } = config;
    const traffic = await checkedTraffic(config.traffic);
    const policy = await checkedPolicy(config.rollout);
    const gitCommit = await commitOf(config);
    const goal = { spec, replicas, listen, traffic, policy, health, supervision };
    const { performer } = context;
    return await use({
      service,
      request: { kind, ...goal, performer, gitCommit, build: built.build, expect, force, supersede },
      upload: async (client) => {
        for (const [digest, file] of files) await interruption.unlessHeard(client.upload(digest, file));
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

/** How long commands that have been told to end are waited for, ms; then they are killed. */
const COMMANDS_END_WITHIN = 5000;

async function build(
  config: Config,
  workDir: string,
  context: Context,
  interruption: Interruption,
): Promise<BuiltRevision & { build: Build | null }> {
  const log = keepLog(context, config);
  const building = buildRevision(config, workDir, log.onLine, interruption.first);
  try {
    const built = await interruption.unlessHeard(building);
    const kept = await log.ended(built.spec);
    if (kept) built.files.set(kept.build.log, kept.path);
    return { ...built, build: kept?.build ?? null };
  } catch (error) {
    const ended = building.catch(() => {});
    await Promise.race([ended, setTimeout(COMMANDS_END_WITHIN, undefined, { ref: false })]);
    throw log.failed(error);
  }
}

/** The commit that the config's folder stands at; null outside a repository, or without git. */
async function commitOf({ folder }: Config): Promise<string | null> {
  const { stdout, exitCode } = await execa('git', ['rev-parse', 'HEAD'], { cwd: folder, reject: false });
  return exitCode === 0 ? stdout.trim() : null;
}
