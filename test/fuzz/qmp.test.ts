import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UnideployError } from '../../src/errors.ts';
import { attach, detach, type Plugboard, replace } from '../../src/hypervisor/qemu/hotplug.ts';
import {
  devicesOnBus,
  forwardedPort,
  queryBlock,
  queryNodes,
  queryStatus,
} from '../../src/hypervisor/qemu/qmp/commands.ts';
import { QmpRefusal } from '../../src/hypervisor/qemu/qmp/errors.ts';
import { connectQmp, type QmpSession } from '../../src/hypervisor/qemu/qmp/session.ts';
import { runDirectory } from '../../src/hypervisor/qemu/run-directory.ts';
import { mutatedJson } from '../support/fuzz/mutations.ts';
import { rounds } from '../support/fuzz/rounds.ts';
import { MACHINE } from '../support/qemu/world.ts';
import { revision } from '../support/revisions.ts';

/** Milliseconds that a command is given here, and that its end may be late on a crowded machine. */
const PATIENCE = 60;
const LATE = 5_000;

/** What the peer says to a command. */
type Reply =
  | 'answer'
  | 'twice'
  | 'other id'
  | 'no id'
  | 'refusal'
  | 'events'
  | 'silence'
  | 'hang up'
  | { bytes: string }
  | { json: string };

interface Script {
  greeting: 'good' | 'none' | Reply;
  replies: Reply[];
  /** bytes in one write; what follows the last goes at once */
  pieces: number[];
  /** the connection ends after so many bytes; null: it goes on */
  last: number | null;
}

const GREETING =
  '{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0},"package":""},"capabilities":[]}}\r\n';
const ANSWERS: Record<string, unknown> = {
  'query-status': { status: 'running', singlestep: false, running: true },
  'query-block': [
    { device: '', qdev: '/machine/peripheral/code.1/virtio-backend', inserted: { 'node-name': 'd0.1' } },
  ],
  'query-named-block-nodes': [{ 'node-name': 'd0123456789ab.1' }, { 'node-name': '#block1' }],
  'qom-list': [{ name: 'child[0]', type: 'child<x>' }],
  'human-monitor-command': 'TCP[HOST_FORWARD] 12 127.0.0.1 40000 10.0.2.15 80 0 0\r\n',
};
const FRAMES = [
  ...Object.values(ANSWERS).map((result) => ({ return: result, id: 1 })),
  { error: { class: 'GenericError', desc: 'Node is in use' }, id: 2 },
  {
    event: 'DEVICE_DELETED',
    data: { device: 'code.1', path: '/x' },
    timestamp: { seconds: 1, microseconds: 2 },
  },
];

const reply: fc.Arbitrary<Reply> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Reply>('answer') },
  fc.constantFrom<Reply>('twice', 'other id', 'no id', 'refusal', 'events', 'silence', 'hang up'),
  fc.string({ unit: 'binary', maxLength: 60 }).map((bytes) => ({ bytes })),
  fc
    .constantFrom(...FRAMES)
    .chain(mutatedJson)
    .map((json) => ({ json })),
);
const script: fc.Arbitrary<Script> = fc.record({
  greeting: fc.oneof(
    { weight: 6, arbitrary: fc.constant('good' as const) },
    fc.constant('none' as const),
    reply,
  ),
  replies: fc.array(reply, { maxLength: 12 }),
  pieces: fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 6 }),
  last: fc.option(fc.nat(900)),
});

let folder: string;
let server: Server;
const sockets = new Set<Socket>();
let next: Script;
const path = () => join(folder, 'qmp.sock');

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ud-fuzz-'));
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    play(socket, next);
  });
  await new Promise<void>((resolve) => server.listen(path(), resolve));
});

afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

describe('a monitor', () => {
  it('may say anything: each command ends in its answer, or an error with a code, in time', async () => {
    const commands: ((session: QmpSession) => Promise<unknown>)[] = [
      queryStatus,
      queryBlock,
      queryNodes,
      (session: QmpSession) => devicesOnBus(session, 'p0'),
      (session: QmpSession) => forwardedPort(session, 80),
    ];
    await fc.assert(
      fc.asyncProperty(script, async (said) => {
        next = said;
        const session = await ends(connectQmp(path(), { deadlineMs: PATIENCE }));
        if (!session) return;
        const awaited = session.waitFor(({ name, data }) => name === 'X' && data.device === 'y', PATIENCE);
        await Promise.all([
          ...commands.map((command) => ends(command(hurried(session)))),
          ends(awaited.event),
        ]);
        session.close();
      }),
      { numRuns: rounds(250) },
    );
  });

  it('may say anything while volumes are changed', async () => {
    const state = join(folder, 'state');
    const directory = runDirectory(state, 'site-1-1');
    await mkdir(directory.path, { recursive: true });
    const [old, fresh] = [revision(1), revision(2, { code: 'y' })].map(({ volumes }) => volumes[0]);
    if (!old || !fresh) throw new Error('a revision has a volume');
    const changes = fc.constantFrom<(board: Plugboard) => Promise<unknown>>(
      (board) => attach(board, fresh),
      (board) => detach(board, old),
      (board) => replace(board, old, fresh),
    );
    await fc.assert(
      fc.asyncProperty(script, changes, async (said, change) => {
        next = { ...said, greeting: 'good', replies: ['answer', ...said.replies] };
        const session = await ends(connectQmp(path(), { deadlineMs: PATIENCE }));
        if (!session) return;
        const board = { id: 'site-1-1', machine: MACHINE, directory, session: hurried(session), known: null };
        const free = { expectCommand: () => {}, lend: async () => {}, takeBack: async () => {} };
        await ends(change({ ...board, ...free, unplugMs: PATIENCE }));
        session.close();
      }),
      { numRuns: rounds(250) },
    );
  });

  it('may break off at any byte', async () => {
    const whole = GREETING.length + 160;
    for (let last = 0; last < whole; last++) {
      next = { greeting: 'good', replies: ['answer', 'events', 'answer'], pieces: [], last };
      const session = await ends(connectQmp(path(), { deadlineMs: LATE }));
      if (!session) continue;
      await ends(queryStatus(session, PATIENCE));
      await ends(queryStatus(session, PATIENCE));
      session.close();
    }
  });
});

/** Expects an answer, or an error that callers know, in time; null where it was an error. */
async function ends<T>(work: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('it does not end')), LATE);
  });
  try {
    return await Promise.race([work, late]);
  } catch (error) {
    const isKnown = error instanceof UnideployError && error.code !== 'UD_INTERNAL';
    if (!isKnown && !(error instanceof QmpRefusal)) throw error;
    return null;
  } finally {
    clearTimeout(timer);
  }
}

/** The same session, less patient. */
function hurried(session: QmpSession): QmpSession {
  return {
    execute: (command, args) => session.execute(command, args, PATIENCE),
    waitFor: (wanted, deadlineMs) => session.waitFor(wanted, deadlineMs),
    onEvent: (listener) => session.onEvent(listener),
    onClose: (listener) => session.onClose(listener),
    get open() {
      return session.open;
    },
    close: () => session.close(),
  };
}

/** Follows a script on one connection. */
function play(socket: Socket, { greeting, replies, pieces, last }: Script): void {
  socket.on('error', () => {});
  socket.setNoDelay(true);
  const sizes = [...pieces];
  let left = last ?? Number.POSITIVE_INFINITY;
  const say = (text: string) => {
    let rest = Buffer.from(text, 'latin1');
    while (rest.length > 0 && !socket.destroyed) {
      const size = Math.min(sizes.shift() ?? rest.length, rest.length, left);
      socket.write(rest.subarray(0, size));
      rest = rest.subarray(size);
      left -= size;
      if (left <= 0) socket.end();
      if (left <= 0) return;
    }
  };
  const answer = (what: Reply, execute: string, id: unknown) => {
    const good = { return: ANSWERS[execute] ?? {}, id };
    const line = (frame: unknown) => say(`${JSON.stringify(frame)}\r\n`);
    if (what === 'answer') line(good);
    else if (what === 'twice') [good, good].forEach(line);
    else if (what === 'other id') line({ ...good, id: 7_000 });
    else if (what === 'no id') line({ return: {} });
    else if (what === 'refusal')
      line({ error: { class: 'GenericError', desc: `${execute} is not found` }, id });
    else if (what === 'events') {
      for (let n = 0; n < 50; n++) line({ event: 'RTC_CHANGE', data: { offset: n } });
      line(good);
    } else if (what === 'hang up') socket.destroy();
    else if (typeof what === 'object')
      say(
        'bytes' in what
          ? what.bytes
          : `${what.json.replace(/"id":\d+/, () => `"id":${JSON.stringify(id)}`)}\n`,
      );
  };
  if (greeting === 'good') say(GREETING);
  else if (greeting !== 'none') answer(greeting, 'greeting', 0);
  const told = [...replies];
  let unread = '';
  socket.on('data', (chunk) => {
    const lines = (unread + chunk.toString()).split('\n');
    unread = lines.pop() ?? '';
    for (const each of lines) {
      const { execute, id } = JSON.parse(each) as { execute: string; id: number };
      answer(told.shift() ?? 'answer', execute, id);
    }
  });
}

it('does not fill the memory with a line that does not end', async () => {
  let taken = 0;
  const flood = createServer((socket) => {
    socket.on('error', () => {});
    const piece = Buffer.alloc(64 * 1024, 'x');
    const more = () => {
      if (socket.destroyed) return;
      taken += piece.length;
      socket.write(piece, more);
    };
    socket.write(GREETING, more);
  });
  const place = join(folder, 'flood.sock');
  await new Promise<void>((resolve) => flood.listen(place, resolve));
  const error = await connectQmp(place, { deadlineMs: 20_000 }).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: 'UD_QMP', message: expect.stringContaining('a line of more than') });
  expect(taken).toBeLessThan(16 << 20);
  await new Promise((resolve) => flood.close(resolve));
});
