import { LIMITS } from '../limits.ts';

/** Memory that is read into, and may be read into again once `release` was called. */
export interface ReadBuffer {
  readonly bytes: Buffer;
  readonly release: () => void;
}

/**
 * Buffers for reading: Node makes a new one for every read otherwise, and collecting those of a busy proxy costs a fifth
 * of its time. One that is never released is simply collected.
 */
const free: ReadBuffer[] = [];

export function takeReadBuffer(): ReadBuffer {
  return free.pop() ?? make();
}

function make(): ReadBuffer {
  const buffer: ReadBuffer = {
    bytes: Buffer.allocUnsafeSlow(LIMITS.read),
    release: () => {
      if (free.length < LIMITS.freeBuffers) free.push(buffer);
    },
  };
  return buffer;
}
