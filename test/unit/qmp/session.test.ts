import { afterEach, describe, expect, test } from 'vitest';
import { queryStatus } from '../../../src/hypervisor/qemu/qmp/commands.ts';
import { attachError, type RefusalKind } from '../../../src/hypervisor/qemu/qmp/errors.ts';
import { connectQmp } from '../../../src/hypervisor/qemu/qmp/session.ts';
import {
  GREETING,
  greet,
  type Peer,
  type Script,
  scriptedPeer,
  tell,
} from '../../support/qemu/scripted-peer.ts';

const peers: Peer[] = [];
async function peer(script: Script): Promise<Peer> {
  const made = await scriptedPeer(script);
  peers.push(made);
  return made;
}
afterEach(async () => {
  for (const each of peers.splice(0)) await each.close();
});

const connect = (path: string, deadlineMs = 2_000) => connectQmp(path, { deadlineMs });

describe('the beginning', () => {
  test('a greeting in pieces is a greeting', async () => {
    const text = `${JSON.stringify(GREETING)}\r\n`;
    const { path, commands } = await peer({
      connected(socket) {
        socket.setNoDelay(true);
        socket.write(text.slice(0, 7), () =>
          socket.write(text.slice(7, -1), () => socket.write(text.slice(-1))),
        );
      },
    });
    const session = await connect(path);
    expect(session.open).toBe(true);
    expect(commands.map(({ execute }) => execute)).toEqual(['qmp_capabilities']);
    session.close();
  });

  test('nobody listens', async () => {
    await expect(connect('/nowhere/qmp.sock', 150)).rejects.toMatchObject({
      code: 'UD_QMP',
      message: expect.stringContaining('ENOENT'),
    });
  });

  test('a monitor that is taken does not greet', async () => {
    const { path } = await peer({ connected: () => {} });
    await expect(connect(path, 100)).rejects.toMatchObject({
      code: 'UD_QMP',
      message: expect.stringContaining('another program holds its monitor'),
    });
  });

  test('a monitor that hangs up before its greeting', async () => {
    const { path } = await peer({ connected: (socket) => socket.end() });
    await expect(connect(path)).rejects.toMatchObject({ message: expect.stringContaining('hung up') });
  });

  test('garbage instead of a greeting', async () => {
    const { path } = await peer({ connected: (socket) => socket.write('SSH-2.0-OpenSSH\r\n') });
    await expect(connect(path)).rejects.toMatchObject({
      message: expect.stringContaining('not JSON: SSH-2.0'),
    });
  });

  test('a caller that gives up ends the retries', async () => {
    const gone = new AbortController();
    const attempt = connectQmp('/nowhere/qmp.sock', { deadlineMs: 60_000, signal: gone.signal });
    gone.abort(new Error('it died'));
    await expect(attempt).rejects.toThrow('it died');
  });
});

describe('commands', () => {
  test('answers are matched by id, in whatever order and however packed', async () => {
    const { path } = await peer({
      command(command, socket) {
        if (command.execute === 'second')
          tell(socket, { return: 'two', id: command.id }, { return: 'one', id: command.id - 1 });
      },
    });
    const session = await connect(path);
    const answers = Promise.all([session.execute('first'), session.execute('second')]);
    expect(await answers).toEqual(['one', 'two']);
    session.close();
  });

  test('one with an answer that is none fails, as one without', async () => {
    const { path } = await peer({ command: ({ id }, socket) => tell(socket, { return: [1, null], id }) });
    const session = await connect(path);
    await expect(queryStatus(session)).rejects.toMatchObject({
      code: 'UD_QMP',
      message: 'query-status was answered with what is no answer to it',
    });
    session.close();
  });

  test('a character split between two chunks is whole again', async () => {
    const { path } = await peer({
      command({ id }, socket) {
        const bytes = Buffer.from(`${JSON.stringify({ return: 'Größe', id })}\n`);
        const cut = bytes.indexOf(0xc3) + 1;
        socket.write(bytes.subarray(0, cut), () => setImmediate(() => socket.write(bytes.subarray(cut))));
      },
    });
    const session = await connect(path);
    expect(await session.execute('size')).toBe('Größe');
    session.close();
  });

  test('one that is not answered ends at its deadline, and its late answer harms nobody', async () => {
    let late: (() => void) | undefined;
    const { path } = await peer({
      command({ execute, id }, socket) {
        if (execute === 'slow') late = () => tell(socket, { return: 'late', id });
        else tell(socket, { return: 'prompt', id });
      },
    });
    const session = await connect(path);
    await expect(session.execute('slow', {}, 50)).rejects.toMatchObject({
      code: 'UD_QMP',
      message: 'slow was not answered within 50 ms',
    });
    late?.();
    expect(await session.execute('quick')).toBe('prompt');
    session.close();
  });

  test('a monitor that hangs up rejects everything that is pending', async () => {
    const { path } = await peer({ command: (_command, socket) => socket.destroy() });
    const session = await connect(path);
    const wait = session.waitFor(() => false, 5_000);
    const closed = new Promise<Error>((resolve) => session.onClose(resolve));
    const pending = [session.execute('one'), session.execute('two'), wait.event];
    for (const each of await Promise.allSettled(pending))
      expect(each).toMatchObject({ status: 'rejected', reason: { code: 'UD_QMP' } });
    expect(await closed).toBeInstanceOf(Error);
    expect(session.open).toBe(false);
    await expect(session.execute('three')).rejects.toMatchObject({ code: 'UD_QMP' });
  });

  test('a line without end closes the session instead of filling the memory', async () => {
    const piece = Buffer.alloc(1024 * 1024, 'x');
    const { path } = await peer({
      command(_command, socket) {
        const more = () => {
          if (!socket.destroyed) socket.write(piece, more);
        };
        more();
      },
    });
    const session = await connect(path);
    await expect(session.execute('flood')).rejects.toMatchObject({
      message: expect.stringContaining('a line of more'),
    });
  });
});

describe('events', () => {
  test('one that comes before the answer of its command is not lost', async () => {
    const { path } = await peer({
      command({ id }, socket) {
        tell(socket, { event: 'DEVICE_DELETED', data: { device: 'code.1' } }, { return: {}, id });
      },
    });
    const session = await connect(path);
    const deleted = session.waitFor(
      ({ name, data }) => name === 'DEVICE_DELETED' && data.device === 'code.1',
      1_000,
    );
    await session.execute('device_del', { id: 'code.1' });
    expect(await deleted.event).toEqual({ name: 'DEVICE_DELETED', data: { device: 'code.1' } });
    session.close();
  });

  test('the right one is found in a flood', async () => {
    const { path } = await peer({
      command({ id }, socket) {
        const flood = Array.from({ length: 5_000 }, (_, number) => ({
          event: 'BLOCK_IO_ERROR',
          data: { number },
        }));
        tell(socket, ...flood, { event: 'STOP' }, { return: {}, id });
      },
    });
    const session = await connect(path);
    let seen = 0;
    const unsubscribe = session.onEvent(() => {
      seen += 1;
    });
    const stop = session.waitFor(({ name }) => name === 'STOP', 1_000);
    await session.execute('stop');
    expect((await stop.event).name).toBe('STOP');
    expect(seen).toBe(5_001);
    unsubscribe();
    session.close();
  });

  test('one that never comes ends at its deadline', async () => {
    const { path } = await peer({ connected: greet });
    const session = await connect(path);
    await expect(session.waitFor(() => true, 30).event).rejects.toMatchObject({
      message: 'no event within 30 ms',
    });
    session.close();
  });
});

describe('refusals', () => {
  const texts: [string, string, RefusalKind][] = [
    ['GenericError', 'Node da.1 is in use', 'node-in-use'],
    ['DeviceNotFound', "Device 'zz' not found", 'not-found'],
    ['GenericError', "Failed to find node with node-name='da.1'", 'not-found'],
    ['GenericError', 'Device code.1 is already in the process of unplug', 'unplug-pending'],
    ['GenericError', "Bus 'pcie.0' does not support hotplugging", 'no-hotplug'],
    ['GenericError', "lun already used by 'code.1'", 'duplicate'],
    ['GenericError', 'Failed to get "write" lock', 'write-locked'],
    ['GenericError', "Could not open '/x': No such file or directory", 'file-missing'],
    ['GenericError', 'something new', 'other'],
  ];
  test.each(texts)('%s: %s', async (qemuClass, desc, kind) => {
    const { path } = await peer({
      command: ({ id }, socket) => tell(socket, { error: { class: qemuClass, desc }, id }),
    });
    const session = await connect(path);
    const refusal = await session.execute('device_add').catch((error: unknown) => error);
    expect(refusal).toMatchObject({ name: 'QmpRefusal', kind, message: desc, command: 'device_add' });
    const shown = attachError('site-1-1', 'code', refusal);
    expect(shown).toMatchObject({ code: 'UD_VOLUME_ATTACH', message: expect.stringContaining(desc) });
    expect(shown.next).not.toBe('');
    session.close();
  });
});
