import fc from 'fast-check';
import { expect, test } from 'vitest';
import { closeFrame, FrameFollower } from '../../../src/proxy/embedded/websocket/frames.ts';

const CLOSE = 8;

/** A frame as RFC 6455 section 5.2 draws it. */
interface Frame {
  fin: boolean;
  opcode: number;
  masked: boolean;
  length: number;
  /** bytes of the length field beyond the first, where more than needed */
  field: 0 | 2 | 8;
}

const frame: fc.Arbitrary<Frame> = fc.record({
  fin: fc.boolean(),
  opcode: fc.constantFrom(0, 1, 2, 9, 10),
  masked: fc.boolean(),
  length: fc.oneof(fc.integer({ min: 0, max: 140 }), fc.constantFrom(125, 126, 127, 65_535, 65_536)),
  field: fc.constantFrom(0 as const, 2 as const, 8 as const),
});

function bytesOf({ fin, opcode, masked, length, field }: Frame): Buffer {
  const least = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const size = Math.max(least, field);
  const head = Buffer.alloc(2 + size);
  head[0] = (fin ? 0x80 : 0) | opcode;
  head[1] = (masked ? 0x80 : 0) | (size === 0 ? length : size === 2 ? 126 : 127);
  if (size === 2) head.writeUInt16BE(length, 2);
  if (size === 8) head.writeBigUInt64BE(BigInt(length), 2);
  // a payload that looks like heads of frames
  return Buffer.concat([head, Buffer.alloc((masked ? 4 : 0) + length, 0x88)]);
}

test('boundaries are found wherever the bytes are split', () => {
  fc.assert(
    fc.property(
      fc.array(frame, { minLength: 1, maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 70_000 }), { maxLength: 12 }),
      (frames, sizes) => {
        const all = frames.map(bytesOf);
        const stream = Buffer.concat(all);
        const ends = new Set<number>([0]);
        let end = 0;
        for (const { length } of all) {
          end += length;
          ends.add(end);
        }

        const follower = new FrameFollower();
        let place = 0;
        for (const size of [...sizes, stream.length]) {
          const piece = stream.subarray(place, place + size);
          expect(follower.follow(piece)).toBe(piece.length);
          place += piece.length;
          expect(follower.atBoundary).toBe(ends.has(place));
        }
        expect(follower.closed).toBe(false);
      },
    ),
  );
});

test('byte by byte, it knows at every place whether a frame has ended and how much is left of it', () => {
  fc.assert(
    fc.property(fc.array(frame, { minLength: 1, maxLength: 4 }), (frames) => {
      const follower = new FrameFollower();
      for (const made of frames) {
        const bytes = bytesOf(made);
        const payload = bytes.length - made.length - (made.masked ? 4 : 0);
        for (let i = 0; i < bytes.length; i++) {
          follower.follow(bytes.subarray(i, i + 1));
          const left = bytes.length - i - 1;
          if (follower.atBoundary !== (left === 0))
            throw new Error(`boundary after ${i + 1} of ${bytes.length}`);
          const known = i + 1 >= payload;
          if (known ? follower.left !== left : !(follower.left > 0 && follower.left <= left))
            throw new Error(`${follower.left} left, not ${left}, after ${i + 1} bytes`);
        }
      }
    }),
    { numRuns: 40 },
  );
});

test('one frame at a time: what follows it is left alone', () => {
  const first = bytesOf({ fin: false, opcode: 1, masked: false, length: 70_000, field: 8 });
  const second = bytesOf({ fin: true, opcode: 0, masked: true, length: 0, field: 0 });
  const both = Buffer.concat([first, second]);
  for (let split = 0; split <= first.length; split += 997) {
    const follower = new FrameFollower();
    follower.follow(both.subarray(0, split));
    expect(follower.next(both, split)).toBe(first.length);
    expect(follower.atBoundary).toBe(true);
    expect(follower.next(both, first.length)).toBe(both.length);
  }
});

test('a close frame ends the frames, and is told only when it is whole', () => {
  const close = bytesOf({ fin: true, opcode: CLOSE, masked: true, length: 2, field: 0 });
  const stream = Buffer.concat([
    bytesOf({ fin: false, opcode: 2, masked: true, length: 9, field: 0 }),
    close,
  ]);
  for (let split = 0; split < stream.length; split++) {
    const follower = new FrameFollower();
    expect(follower.follow(stream.subarray(0, split))).toBe(split);
    expect(follower.closed).toBe(false);
    const rest = Buffer.concat([stream.subarray(split), Buffer.from('no frames any more')]);
    expect(follower.follow(rest)).toBe(stream.length - split);
    expect(follower).toMatchObject({ closed: true, atBoundary: true, left: 0 });
  }
});

test('bytes that are no frames are followed without an error', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (pieces) => {
      const follower = new FrameFollower();
      for (const piece of pieces) expect(follower.follow(piece)).toBeLessThanOrEqual(piece.length);
      expect(follower.left).toBeGreaterThanOrEqual(0);
    }),
  );
});

test('a close frame carries its code, masked where a client sends it', () => {
  expect(closeFrame(1001, { masked: false })).toEqual(Buffer.from([0x88, 2, 0x03, 0xe9]));
  const masked = closeFrame(1001, { masked: true });
  expect([...masked.subarray(0, 2)]).toEqual([0x88, 0x82]);
  const mask = masked.subarray(2, 6);
  const payload = masked.subarray(6).map((byte, i) => byte ^ (mask[i] as number));
  expect([...payload]).toEqual([0x03, 0xe9]);
});
