import type { Config } from '../config/config.ts';
import type { Digest, RevisionSpec } from '../domain/revision.ts';
import type { OnLine } from './commands.ts';
import { buildImage } from './image.ts';
import { buildVolume } from './volume.ts';

/** What to deploy, and where the bytes of its digests are for now. */
export interface BuiltRevision {
  spec: RevisionSpec;
  /** absolute path by digest; they are wanted until they are in the store */
  files: Map<Digest, string>;
}

/**
 * Builds all that the config names: first the image, then the volumes in their order.
 * @param workDir an empty folder; the caller removes it when the files are in the store
 * @param signal ends the user's commands
 * @throws UD_BUILD_FAILED, UD_FILE_NOT_FOUND, UD_TOOL_MISSING
 */
export async function buildRevision(
  config: Config,
  workDir: string,
  onLine: OnLine,
  signal?: AbortSignal,
): Promise<BuiltRevision> {
  const { image, files: imageFiles } = await buildImage(config, onLine, signal);
  const files = new Map(imageFiles.map(({ digest, path }) => [digest, path]));
  const volumes = [];
  for (const volumeConfig of config.volumes) {
    const { file, volume } = await buildVolume(volumeConfig, workDir, onLine, signal);
    files.set(volume.digest, file);
    volumes.push(volume);
  }
  const { machine, checks, data } = config;
  return { spec: { image, machine, volumes, checks, ...(data.length > 0 && { data }) }, files };
}
