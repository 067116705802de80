import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { buildRevision } from '../artifact/revision.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import type { Client } from '../daemon/client.ts';
import type { DeployRequest } from '../daemon/messages.ts';
import type { Context } from './context.ts';

/**
 * Builds what the config says, here, where its sources and its tools are, and makes a request of it.
 * @param upload whether the controller is given the artifacts, too (a plan only needs their digests)
 */
export async function buildRequest(
  context: Context,
  client: Client,
  kind: DeployRequest['kind'],
  upload: boolean,
): Promise<{ service: string; request: DeployRequest }> {
  const config = await loadConfig(context.file);
  const workDir = await mkdtemp(join(tmpdir(), 'unideploy-build-'));
  try {
    const { spec, files } = await buildRevision(config, workDir, (line) => context.renderer.build(line));
    if (upload) for (const [digest, file] of files) await client.upload(digest, file);
    const { service, replicas, listen, health, rollout: policy } = config;
    const request = { kind, spec, replicas, listen, policy, health, performer: context.performer };
    return { service, request: { ...request, gitCommit: await gitCommit(config) } };
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

/** The commit that the config's folder stands at; null outside a repository, or without git. */
async function gitCommit({ folder }: Config): Promise<string | null> {
  const { stdout, exitCode } = await execa('git', ['rev-parse', 'HEAD'], { cwd: folder, reject: false });
  return exitCode === 0 ? stdout.trim() : null;
}
