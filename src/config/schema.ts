import { z } from 'zod';
import { dataSchema } from './data-schema.ts';
import { proxySchema } from './proxy-schema.ts';
import { rolloutSchema } from './rollout-schema.ts';
import {
  choice,
  command,
  duration,
  httpPath,
  integer,
  listen,
  memory,
  name,
  path,
  pattern,
  size,
} from './scalars.ts';
import { supervisionSchema } from './supervision-schema.ts';

const map = { error: 'expected a map of keys' };
/** Where a volume says its revision, and a guest without volumes its image. */
const REVISION_PATH = '/.unideploy/revision';

const disk = z.union(
  [
    path,
    z.strictObject(
      {
        file: path.describe('the disk image'),
        format: choice('raw', 'qcow2').prefault('raw').describe('how the image is stored'),
      },
      map,
    ),
  ],
  { error: 'expected a path, or a map of file and format' },
);

const guest = z
  .strictObject(
    {
      profile: choice('linux', 'nanos', 'custom').describe(
        'the kind of guest; it decides the defaults of the other keys',
      ),
      machine: choice('q35', 'pc').prefault('q35').describe('QEMU machine type'),
      accel: choice('auto', 'kvm', 'tcg')
        .prefault('auto')
        .describe('accelerator; auto takes KVM where a guest really runs on it'),
      cpu: pattern(/^[\w.,+=-]+$/, 'expected a QEMU CPU model')
        .optional()
        .describe('QEMU CPU model; the best of the accelerator if left out'),
      memory: memory
        .optional()
        .describe('RAM of one instance; linux and custom 128M, nanos 256M if left out'),
      cpus: integer(1, 64).prefault(1).describe('virtual CPUs of one instance'),
      kernel: path.optional().describe('kernel to boot'),
      initrd: path.optional().describe('initial RAM disk of the kernel'),
      cmdline: pattern(/^[ -~]{1,1024}$/, 'expected one line of at most 1024 characters')
        .optional()
        .describe('kernel command line, put after the one of the profile'),
      disk: disk.optional().describe('root disk to boot, instead of a kernel'),
      volumes: choice('virtio-scsi', 'virtio-blk')
        .optional()
        .describe('where code volumes attach; linux and nanos virtio-scsi if left out'),
      swap: choice('overlap', 'replace')
        .optional()
        .describe(
          'overlap: the guest holds old and new volume at once; replace: the old one leaves first; linux overlap, nanos replace if left out',
        ),
      wake: z
        .union([z.literal('none'), httpPath], { error: 'expected an HTTP path such as /wake, or none' })
        .optional()
        .describe(
          'HTTP path to which a copy of a running guest is POSTed who it is; none: nothing need be told to it; guests are never copied if left out',
        ),
    },
    map,
  )
  .describe('what one instance is');

const image = z
  .strictObject(
    {
      build: command.describe(
        "shell command run in this file's folder before kernel, initrd or disk are read",
      ),
      env: z
        .record(
          z
            .string()
            .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: 'expected the name of an environment variable' }),
          z.union([z.string(), z.number()], { error: 'expected a text or a number' }).transform(String),
          map,
        )
        .prefault({})
        .describe('environment variables added for the command'),
    },
    map,
  )
  .describe('how the image is built; left out: it is there already');

const volume = z.strictObject(
  {
    name: name(16).prefault('code').describe('name of the volume, unique in the service'),
    source: path.optional().describe('folder, or tar archive of one, to pack'),
    file: path.optional().describe('ready-made image, taken as it is'),
    build: command
      .optional()
      .describe(
        "shell command run in this file's folder; a folder or a tar archive it makes at $UNIDEPLOY_OUTPUT is packed, any other file is taken as it is",
      ),
    format: choice('squashfs', 'ext4', 'iso9660', 'fat', 'raw')
      .prefault('squashfs')
      .describe('file system of the volume'),
    owners: choice('root', 'preserve')
      .prefault('root')
      .describe(
        "whose the files of a packed folder are: root's, or whose they were, by numbers, with their permissions",
      ),
    maxSize: size('4K', '64G').optional().describe('a larger image is refused; any size if left out'),
    probe: httpPath
      .prefault(REVISION_PATH)
      .describe('HTTP path at which the application answers with the revision of the volume'),
    revision: pattern(/^[!-~]{1,128}$/, 'expected a text without blanks of at most 128 characters')
      .optional()
      .describe('what a ready-made image answers at the probe; left out: the volume is not verified'),
  },
  map,
);

const health = z
  .strictObject(
    {
      path: httpPath.prefault('/health').describe('HTTP path that answers 200 when the instance can serve'),
      interval: duration.prefault('1s').describe('time between two checks'),
      timeout: duration.prefault('1s').describe('time one check may take'),
      healthy: integer(1, 100).prefault(1).describe('successes in a row that make an instance healthy'),
      unhealthy: integer(1, 100).prefault(3).describe('failures in a row that make an instance unhealthy'),
      deadline: duration.prefault('60s').describe('time from launch to healthy and verified'),
    },
    map,
  )
  .describe('how an instance is asked for its health');

const revision = z
  .union(
    [
      z.literal(false),
      z.strictObject(
        { path: httpPath.prefault(REVISION_PATH).describe('HTTP path that answers the revision') },
        map,
      ),
    ],
    { error: 'expected false, or a map with a path' },
  )
  .describe('how the application tells what it runs; false: it cannot, and rollouts are unverified');

/** The shape of `unideploy.yaml`. What depends on several keys is in rules.ts, what depends on the profile in profiles.ts. */
export const configSchema = z
  .strictObject(
    {
      service: name(20).describe('name of the service'),
      replicas: integer(1, 500).prefault(1).describe('instances in the pool'),
      listen: listen().describe('where the load balancer takes requests: a port of 127.0.0.1, or host:port'),
      guest,
      image: image.optional(),
      volumes: z
        .array(volume, { error: 'expected a list of volumes' })
        .max(8, { error: 'expected at most 8 volumes' })
        .prefault([])
        .describe('code volumes: immutable, attached read-only'),
      data: dataSchema,
      port: integer(1, 65535).prefault(80).describe('TCP port of the application in the guest'),
      health: health.prefault({}),
      revision: revision.prefault({}),
      rollout: rolloutSchema.prefault({}),
      proxy: proxySchema.prefault({}),
      supervision: supervisionSchema.prefault({}),
    },
    map,
  )
  .describe('a service deployed by unideploy');

/** `unideploy.yaml` after parsing, before the profile's defaults and before paths are resolved. */
export type Declaration = z.output<typeof configSchema>;
