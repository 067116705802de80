import { dirname, resolve } from 'node:path';
import type { Machine } from '../domain/revision.ts';
import type { BootFiles, Config, FileReference, VolumeConfig } from './config.ts';
import { dataVolumesOf } from './data-schema.ts';
import { type KeyPath, locate, type ParsedFile, place } from './positions.ts';
import { PROFILES } from './profiles.ts';
import { rolloutOf } from './rollout.ts';
import type { Declaration } from './schema.ts';
import { supervisionOf } from './supervision.ts';
import { trafficOf } from './traffic.ts';

/** Fills in the defaults of the guest profile and makes paths absolute. The declaration must keep the rules. */
export function resolveConfig(parsed: ParsedFile, declaration: Declaration): Config {
  const { guest, image, revision } = declaration;
  const { path: healthPath, ...policy } = declaration.health;
  const folder = dirname(resolve(parsed.file));
  const where = (path: KeyPath) => place(locate(parsed, path, 'value'));
  const reference = (written: string, path: KeyPath): FileReference => ({
    path: resolve(folder, written),
    written,
    where: where(path),
  });
  return {
    file: parsed.file,
    folder,
    service: declaration.service,
    replicas: declaration.replicas,
    listen: declaration.listen,
    machine: machineOf(guest),
    boot: bootOf(guest, reference),
    build: image ? { command: image.build, env: image.env, folder, where: where(['image', 'build']) } : null,
    volumes: declaration.volumes.map((volume, index) =>
      volumeOf(volume, { path: ['volumes', index], folder, reference, where }),
    ),
    data: dataVolumesOf(declaration),
    checks: {
      port: declaration.port,
      healthPath,
      revisionPath: revision === false ? null : revision.path,
    },
    health: policy,
    rollout: rolloutOf(declaration, folder, reference),
    supervision: supervisionOf(declaration),
    traffic: trafficOf(declaration, reference),
    position: (path) => locate(parsed, path),
  };
}

type Reference = (written: string, path: KeyPath) => FileReference;

function machineOf(guest: Declaration['guest']): Machine {
  const profile = PROFILES[guest.profile];
  const cmdline = guest.kernel === undefined ? [] : [profile.cmdline, guest.cmdline ?? ''];
  return {
    profile: guest.profile,
    type: guest.machine,
    accel: guest.accel,
    cpu: guest.cpu ?? null,
    memory: guest.memory ?? profile.memory,
    cpus: guest.cpus,
    cmdline: cmdline.filter((part) => part !== '').join(' '),
    volumes: required(guest.volumes ?? profile.volumes, 'guest.volumes'),
    swap: required(guest.swap ?? profile.swap, 'guest.swap'),
    ...(guest.wake !== undefined && { wake: guest.wake }),
  };
}

function bootOf({ kernel, initrd, disk }: Declaration['guest'], reference: Reference): BootFiles {
  if (disk === undefined) {
    return {
      kind: 'kernel',
      kernel: reference(required(kernel, 'guest.kernel'), ['guest', 'kernel']),
      initrd: initrd === undefined ? null : reference(initrd, ['guest', 'initrd']),
    };
  }
  if (typeof disk === 'string')
    return {
      kind: 'disk',
      disk: reference(disk, ['guest', 'disk']),
      format: disk.endsWith('.qcow2') ? 'qcow2' : 'raw',
    };
  return { kind: 'disk', disk: reference(disk.file, ['guest', 'disk', 'file']), format: disk.format };
}

interface VolumeSite {
  path: KeyPath;
  folder: string;
  reference: Reference;
  where: (path: KeyPath) => string;
}

function volumeOf(volume: Declaration['volumes'][number], site: VolumeSite): VolumeConfig {
  const { path, folder, reference, where } = site;
  const { name, format, owners, probe, revision, maxSize = null, source, file, build } = volume;
  const common = {
    name,
    format,
    owners,
    maxSize,
    probe,
    revision: revision ?? null,
    where: where([...path, 'format']),
  };
  if (source !== undefined)
    return { ...common, content: { kind: 'source', folder: reference(source, [...path, 'source']) } };
  if (file !== undefined)
    return { ...common, content: { kind: 'file', file: reference(file, [...path, 'file']) } };
  const command = required(build, 'volumes[].build');
  return { ...common, content: { kind: 'build', command, folder, where: where([...path, 'build']) } };
}

/** The rules have seen to it; this only tells the compiler. */
function required<T>(value: T | null | undefined, key: string): T {
  if (value === null || value === undefined) throw new TypeError(`${key} passed the rules and is missing`);
  return value;
}
