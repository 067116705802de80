import { open } from 'node:fs/promises';

/** What a file's first bytes say it is; null: nothing known, or raw. */
export async function formatOf(
  path: string,
): Promise<'squashfs' | 'ext4' | 'iso9660' | 'fat' | 'qcow2' | null> {
  const head = await bytes(path, 0, 4);
  if (head.equals(Buffer.from('hsqs'))) return 'squashfs';
  if (head.equals(Buffer.from('QFI\xfb', 'latin1'))) return 'qcow2';
  if ((await bytes(path, 1080, 2)).equals(Buffer.from([0x53, 0xef]))) return 'ext4';
  if ((await bytes(path, 32_769, 5)).equals(Buffer.from('CD001'))) return 'iso9660';
  // a boot sector that says how it calls itself: in the place of FAT12 and FAT16, or in that of FAT32
  const names = [await bytes(path, 54, 3), await bytes(path, 82, 3)].map(String);
  if (names.includes('FAT') && (await bytes(path, 510, 2)).equals(Buffer.from([0x55, 0xaa]))) return 'fat';
  return null;
}

/** What a file that a guest boots is, by its first bytes. */
export async function bootFormatOf(path: string): Promise<string> {
  const head = await bytes(path, 0, 6);
  const is = (offset: number, text: string) =>
    head.subarray(offset, offset + text.length).toString('latin1') === text;
  if (is(0, '\x7fELF')) return 'ELF';
  if (String(await bytes(path, 514, 4)) === 'HdrS') return 'bzImage';
  if (is(0, '07070')) return 'cpio';
  if (is(0, '\x1f\x8b')) return 'gzip';
  if (is(0, '\x28\xb5\x2f\xfd')) return 'zstd';
  if (is(0, '\x02\x21\x4c\x18')) return 'lz4';
  if (is(0, '\xfd7zXZ')) return 'xz';
  return (await formatOf(path)) ?? 'raw';
}

/** Whether a file is an archive that tar has made, compressed by gzip or not. */
export async function isTar(path: string): Promise<boolean> {
  const gzip = (await bytes(path, 0, 2)).equals(Buffer.from([0x1f, 0x8b]));
  return gzip || String(await bytes(path, 257, 5)) === 'ustar';
}

/** Up to `length` bytes from `offset`; fewer at the end of the file. */
export async function bytes(path: string, offset: number, length: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
