import type { Digest } from './revision.ts';

/** A copy of a data volume: a whole image of it as it was at one moment, kept until somebody removes it. */
export interface DataCopy {
  id: string;
  service: string;
  volume: string;
  /** the moment, epoch milliseconds */
  at: number;
  /** which had the volume, and its revision; null: none had */
  instance: string | null;
  revision: number | null;
  /** whether the guest held still at that moment: true, or why not; null: it was not asked, or there was none */
  still: true | string | null;
  /** the copy that it was made of, with what had changed since; null: it was made whole */
  on: string | null;
  /** why it was made whole; null: it was not */
  why: string | null;
  /** bytes that a guest sees, and bytes that were read of the disk */
  size: number;
  copied: number;
  /** bytes of the file, and its digest */
  bytes: number;
  digest: Digest;
}

/** By the time, and so in their order. No two copies of a volume are begun in one millisecond. */
export function copyIdAt(at: number): string {
  const [date = '', time = ''] = new Date(at).toISOString().replaceAll(/[-:]/g, '').split('T');
  return `${date}-${time.slice(0, 6)}-${time.slice(7, 10)}`;
}
