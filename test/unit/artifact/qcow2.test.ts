import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { qcow2Facts } from '../../../src/artifact/qcow2.ts';

let folder: string;
let file: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ud-qcow2-'));
  file = join(folder, 'disk.qcow2');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** An image of which only the header and the table of states are there. */
function image(states: { id: string; name: string; seconds: number }[], claims = states.length): Buffer {
  const header = Buffer.alloc(128);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(3, 4);
  header.writeBigUInt64BE(1n << 30n, 24);
  header.writeUInt32BE(claims, 60);
  header.writeBigUInt64BE(128n, 64);
  const entries = states.map(({ id, name, seconds }) => {
    const fixed = Buffer.alloc(40);
    fixed.writeUInt16BE(Buffer.byteLength(id), 12);
    fixed.writeUInt16BE(Buffer.byteLength(name), 14);
    fixed.writeUInt32BE(seconds, 16);
    fixed.writeUInt32BE(500_000_000, 20);
    fixed.writeUInt32BE(16, 36);
    const entry = Buffer.concat([fixed, Buffer.alloc(16), Buffer.from(id + name)]);
    return Buffer.concat([entry, Buffer.alloc((8 - (entry.length % 8)) % 8)]);
  });
  return Buffer.concat([header, ...entries]);
}

describe('what an image says of itself', () => {
  it('is its size and the states within it, as they were taken', async () => {
    const states = [
      { id: '1', name: 'before-rollout-1', seconds: 10 },
      { id: '12', name: 'mine', seconds: 20 },
    ];
    await writeFile(file, image(states));
    expect(await qcow2Facts(file)).toEqual({
      size: 1 << 30,
      snapshots: [
        { id: '1', name: 'before-rollout-1', at: 10_500 },
        { id: '12', name: 'mine', at: 20_500 },
      ],
    });
  });

  it('is not believed where it is nonsense', async () => {
    await writeFile(file, image([{ id: '1', name: 'a', seconds: 1 }], 3));
    expect(await qcow2Facts(file)).toBeNull();
    await writeFile(file, image([], 2 ** 31));
    expect(await qcow2Facts(file)).toBeNull();
    await writeFile(file, 'no image');
    expect(await qcow2Facts(file)).toBeNull();
  });

  it('whatever bytes a guest may have put there, ends in an answer', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.nat(300), async (bytes, at) => {
        const whole = image([{ id: '1', name: 'a', seconds: 1 }]);
        await writeFile(file, Buffer.concat([whole.subarray(0, Math.min(at, whole.length)), bytes]));
        const facts = await qcow2Facts(file);
        expect(facts === null || facts.snapshots.length <= 4096).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});
