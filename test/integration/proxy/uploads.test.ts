import { expect, test } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { route, scene, until } from './scene.ts';
import { bareInstance, dial } from './suite/wire.ts';

test('an instance that stops reading an upload costs its client a 504 after the response time-out', async () => {
  const at = scene();
  const app = await bareInstance(({ socket }) => socket.pause());
  const timeouts = { ...DEFAULT_TRAFFIC.timeouts, response: 300 };
  await at.apply({ traffic: { ...DEFAULT_TRAFFIC, timeouts }, routes: [route('a', app)] });
  const wire = await dial(at.port);
  const size = 64 << 20;
  wire.socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`);
  wire.socket.write(Buffer.alloc(size));
  await until('the refusal', () => wire.received().includes('\r\n\r\n'));
  expect(wire.received()).toMatch(/^HTTP\/1\.1 504 [\s\S]*response-timeout/);
  expect(at.inFlight()).toBe(0);
});
