import { dataBreaches } from './data-schema.ts';
import type { KeyPath } from './positions.ts';
import { PROFILES } from './profiles.ts';
import { rolloutBreaches } from './rollout-rules.ts';
import type { Declaration } from './schema.ts';
import { supervisionBreaches } from './supervision.ts';

/** A rule that several keys break together, and the key to point at. */
export interface Breach {
  path: KeyPath;
  message: string;
}

/** What no single key can be blamed for. */
export function breaches(declaration: Declaration): Breach[] {
  return [
    ...bootBreaches(declaration.guest),
    ...profileBreaches(declaration.guest),
    ...declaration.volumes.flatMap((volume, index) => volumeBreaches(volume, ['volumes', index])),
    ...repeated(declaration.volumes, 'name'),
    ...repeated(declaration.volumes, 'probe'),
    ...dataBreaches(declaration),
    ...rolloutBreaches(declaration),
    ...proxyBreaches(declaration),
    ...supervisionBreaches(
      declaration,
      declaration.guest.memory ?? PROFILES[declaration.guest.profile].memory,
    ),
  ];
}

type Guest = Declaration['guest'];
type Volume = Declaration['volumes'][number];
type Proxy = Declaration['proxy'];

function bootBreaches({ profile, kernel, initrd, cmdline, disk, wake }: Guest): Breach[] {
  const found: Breach[] = [];
  const breach = (key: string, message: string) => found.push({ path: ['guest', key], message });
  if (disk !== undefined) {
    if (kernel !== undefined)
      breach('disk', 'guest.kernel and guest.disk are both given, expected one of them');
    if (cmdline !== undefined && kernel === undefined)
      breach('cmdline', 'guest.cmdline is given with a disk, expected it only with guest.kernel');
  } else if (profile === 'nanos') {
    breach('disk', 'guest.disk is missing, expected the disk image that a nanos guest boots');
  } else if (kernel === undefined) {
    breach('kernel', 'guest boots nothing, expected guest.kernel or guest.disk');
  }
  if (profile === 'nanos' && kernel !== undefined && disk === undefined)
    breach('kernel', 'guest.kernel is given for a nanos guest, expected guest.disk');
  if (wake !== undefined && disk !== undefined)
    breach(
      'wake',
      'guest.wake is given with a disk, expected it only with guest.kernel: what a guest has written to its disk is no part of its memory',
    );
  if (initrd !== undefined && kernel === undefined)
    breach('initrd', 'guest.initrd is given without a kernel, expected guest.kernel too');
  return found;
}

function profileBreaches({ profile, volumes, swap }: Guest): Breach[] {
  const found: Breach[] = [];
  if (PROFILES[profile].volumes === null && volumes === undefined)
    found.push({
      path: ['guest', 'volumes'],
      message: `guest.volumes is missing, expected virtio-scsi or virtio-blk said for a ${profile} guest`,
    });
  if (PROFILES[profile].swap === null && swap === undefined)
    found.push({
      path: ['guest', 'swap'],
      message: `guest.swap is missing, expected overlap or replace said for a ${profile} guest`,
    });
  if (profile === 'nanos' && volumes === 'virtio-blk')
    found.push({
      path: ['guest', 'volumes'],
      message:
        'guest.volumes is virtio-blk, expected virtio-scsi: Nanos does not let go of a virtio-blk volume',
    });
  return found;
}

function volumeBreaches(volume: Volume, path: KeyPath): Breach[] {
  const given = (['source', 'file', 'build'] as const).filter((key) => volume[key] !== undefined);
  const [first, second] = given;
  if (first === undefined)
    return [{ path, message: `volume "${volume.name}" has no content, expected source, file or build` }];
  if (second !== undefined)
    return [
      {
        path: [...path, second],
        message: `volume "${volume.name}" has both ${first} and ${second}, expected one of source, file and build`,
      },
    ];
  const found: Breach[] = [];
  if (
    volume.owners === 'preserve' &&
    (first === 'file' || volume.format === 'fat' || volume.format === 'raw')
  )
    found.push({
      path: [...path, 'owners'],
      message: `owners is preserve, expected it only with a folder that is packed as squashfs, ext4 or iso9660`,
    });
  if (first !== 'source') return found;
  if (volume.format === 'raw')
    found.push({
      path: [...path, 'format'],
      message: 'format is raw, expected squashfs, ext4, iso9660 or fat for a folder to be packed',
    });
  if (volume.revision !== undefined)
    found.push({
      path: [...path, 'revision'],
      message:
        'revision is given for a folder, expected it only with file or build: a packed folder is named by its content',
    });
  return found;
}

function repeated(volumes: readonly Volume[], key: 'name' | 'probe'): Breach[] {
  return volumes.flatMap((volume, index) => {
    const earlier = volumes.findIndex((other) => other[key] === volume[key]);
    if (earlier === index) return [];
    const message = `volumes[${index}] has the ${key} "${volume[key]}" of volumes[${earlier}], expected another`;
    return [{ path: ['volumes', index, key], message }];
  });
}

function proxyBreaches({ proxy }: Declaration): Breach[] {
  const { mode, match, preview } = proxy;
  if (mode === 'tcp') return connectionBreaches(proxy);
  const found: Breach[] = match.flatMap(({ host, path }, index) => {
    const earlier = match.findIndex((other) => other.host === host && other.path === path);
    if (earlier === index) return [];
    const message = `proxy.match[${index}] is the same as proxy.match[${earlier}], expected another`;
    return [{ path: ['proxy', 'match', index], message }];
  });
  if (preview && preview.host === undefined && preview.header === undefined)
    found.push({
      path: ['proxy', 'preview'],
      message: 'proxy.preview names no request, expected a host or a header',
    });
  if (preview?.host !== undefined && match.some(({ host }) => host === preview.host))
    found.push({
      path: ['proxy', 'preview', 'host'],
      message: `proxy.preview.host is ${preview.host}, expected a host that proxy.match does not name`,
    });
  return found;
}

/** What a service has only where the data plane reads its requests. */
function connectionBreaches({ match, sticky, preview, check, hold, limits, accessLog }: Proxy): Breach[] {
  const given: [KeyPath, boolean][] = [
    [['match'], match.length > 0],
    [['sticky'], sticky !== null],
    [['preview'], preview !== undefined],
    [['check'], check !== undefined && check !== false],
    [['hold', 'health'], hold.health !== undefined],
    [['limits', 'body'], limits.body !== undefined],
    [['accessLog'], accessLog],
  ];
  return given
    .filter(([, isGiven]) => isGiven)
    .map(([path]) => ({
      path: ['proxy', ...path],
      message: `proxy.${path.join('.')} is given with mode tcp, expected it only with mode http`,
    }));
}
