import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CodeVolume } from '../../domain/revision.ts';
import type { Endpoint, InstanceSpec } from '../port.ts';
import { type Attachment, readAttachments } from './attachments.ts';
import {
  processesOf,
  type RunDirectory,
  readEndpoint,
  readSpec,
  runDirectory,
  runIds,
} from './run-directory.ts';

/** What one machine has left on this host, read from there alone: nobody is asked, nothing is changed. */
export interface Trace {
  id: string;
  /** null: its run directory does not say, or is gone */
  spec: InstanceSpec | null;
  /** processes that run for it: none, or one */
  pids: number[];
  endpoint: Endpoint | null;
  /** the code volumes it was given last; null: nobody can say */
  volumes: CodeVolume[] | null;
  /** its run directory is there */
  directory: boolean;
  /** kept as it is for somebody to look into */
  frozen: boolean;
}

/** Every machine of a state: those that have a run directory, and those that only have a process. */
export async function traces(state: string): Promise<Trace[]> {
  const running = processesOf(state);
  const ids = new Set([...(await runIds(state)), ...running.keys()]);
  const found = [...ids].sort().map((id) => traceOf(state, id, running.get(id) ?? []));
  return (await Promise.all(found)).filter((trace) => trace !== null);
}

/** Ids of all machines that ever left something here, those that were removed not long ago included. */
export async function everSeen(state: string): Promise<string[]> {
  const kept = await readdir(join(state, 'run', '.removed')).catch(() => []);
  const removed = kept.map((name) => name.replace(/\.log(\.1)?$/, ''));
  return [...new Set([...removed, ...(await runIds(state)), ...processesOf(state).keys()])];
}

async function traceOf(state: string, id: string, pids: number[]): Promise<Trace | null> {
  const directory = directoryOf(state, id);
  if (directory === null) return null;
  const spec = await readSpec(directory);
  return {
    id,
    spec,
    pids,
    endpoint: await readEndpoint(directory),
    volumes: await volumesOf(directory, spec),
    directory: existsSync(directory.path),
    frozen: existsSync(join(directory.path, 'frozen')),
  };
}

/** Null for what has a name that no instance can have: somebody else has put it there. */
function directoryOf(state: string, id: string): RunDirectory | null {
  try {
    return runDirectory(state, id);
  } catch {
    return null;
  }
}

/** Of each name the one that was attached last. */
async function volumesOf(directory: RunDirectory, spec: InstanceSpec | null): Promise<CodeVolume[] | null> {
  const made = existsSync(dirname(directory.attachments)) ? await readAttachments(directory) : [];
  const last = new Map(made.map((attachment) => [attachment.name, attachment]));
  const volumes = [...last.values()].map((attachment) => wholeVolume(attachment, spec));
  return volumes.every((volume) => volume !== null) ? volumes : null;
}

/** The volume of an attachment: as it was written down, or, of earlier versions, as the spec has it. */
export function wholeVolume(
  { name, digest, format, size, revision, probe }: Attachment,
  spec: InstanceSpec | null,
): CodeVolume | null {
  const known = spec?.volumes.find((volume) => volume.name === name && volume.digest === digest);
  if (known) return known;
  if (size === undefined || revision === undefined || probe === undefined) return null;
  return { name, digest, format, size, revision, probe };
}
