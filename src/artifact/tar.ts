import { createReadStream, createWriteStream } from 'node:fs';
import { chmod, link, lstat, mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract, type Headers } from 'tar-stream';
import { UnideployError } from '../errors.ts';
import { bytes } from './formats.ts';
import type { Owners } from './stage.ts';
import type { Ownership } from './tree.ts';

/**
 * Writes out a tar archive, as of a container's file system, into `into` (made here). Nothing is written outside it,
 * whatever names and links the archive has, and no privilege is needed: whose the things are is told, not done.
 * @throws UD_BUILD_FAILED for what is no such archive, or has what no volume can hold
 */
export async function unpackTar(archive: string, into: string): Promise<Owners> {
  await mkdir(into);
  const unpacked = new Unpacked(into);
  const entries = extract();
  const isPacked = (await bytes(archive, 0, 2)).equals(Buffer.from([0x1f, 0x8b]));
  const reading = isPacked
    ? pipeline(createReadStream(archive), createGunzip(), entries)
    : pipeline(createReadStream(archive), entries);
  // told below, once no entry is waited for any more
  reading.catch(() => {});
  try {
    for await (const entry of entries) {
      await unpacked.take(entry.header, entry);
      entry.resume();
    }
    await reading;
  } catch (error) {
    const why = error instanceof Unfit ? error.message : `cannot be read: ${(error as Error).message}`;
    throw new UnideployError(
      'UD_BUILD_FAILED',
      `${archive} ${why}`,
      'make the archive anew without it (tar --exclude), or unpack it and give the folder',
      { cause: error },
    );
  }
  return (path) => unpacked.owned.get(path);
}

class Unfit extends Error {}

class Unpacked {
  readonly owned = new Map<string, Ownership>();
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  async take(header: Headers, content: Readable): Promise<void> {
    const { uid = 0, gid = 0, mode = 0o755, type } = header;
    const path = plain(header.name);
    if (path === '') return;
    if (path.split('/').includes('..')) throw new Unfit(`has a name that leads out of it: ${header.name}`);
    await this.#makeFolders(dirname(path));
    await this.#write(path, header, content);
    // A hard link is another name of what has its owner already.
    const first = type === 'link' ? this.owned.get(plain(header.linkname ?? '')) : undefined;
    this.owned.set(path, first ?? { user: uid, group: gid, mode: mode & 0o7777 });
  }

  async #write(
    path: string,
    { name, type, linkname, mode = 0o644 }: Headers,
    content: Readable,
  ): Promise<void> {
    const to = join(this.#root, path);
    switch (type) {
      case 'directory':
        return await this.#makeFolders(path);
      case 'symlink':
        return await symlink(linkname ?? '', to);
      case 'link': {
        const from = plain(linkname ?? '');
        if (!this.owned.has(from)) throw new Unfit(`has a hard link to ${from}, which is not before it`);
        return await link(join(this.#root, from), to);
      }
      case 'file':
      case 'contiguous-file':
        await pipeline(content, createWriteStream(to, { flags: 'wx' }));
        return await chmod(to, mode & 0o100 ? 0o755 : 0o644);
      default:
        throw new Unfit(
          `holds ${name}, ${type === 'fifo' ? 'a named pipe' : 'a device'}; a volume holds files, folders and symbolic links`,
        );
    }
  }

  /** Each must be a folder itself: a link among them could lead anywhere. */
  async #makeFolders(path: string): Promise<void> {
    let folder = '';
    for (const name of path === '.' ? [] : path.split('/')) {
      folder = join(folder, name);
      const found = await lstat(join(this.#root, folder)).catch(() => null);
      if (found === null) {
        await mkdir(join(this.#root, folder));
        this.owned.set(folder, { user: 0, group: 0, mode: 0o755 });
      } else if (!found.isDirectory()) throw new Unfit(`has something below ${folder}, which is no folder`);
    }
  }
}

function plain(name: string): string {
  return name
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
}
