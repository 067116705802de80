import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';

/** What a Node process says of itself after its garbage has been collected. */
export interface Inspected {
  /** bytes of living objects, and of the buffers that they hold */
  heap: number;
  /** what keeps its event loop alive, by kind */
  handles: Record<string, number>;
  /** listeners to its process-wide events */
  listeners: number;
}

/** Asks a Node process by its inspector, which is open for that long only. Only one process of a machine can be asked at a time. */
export async function inspect(pid: number): Promise<Inspected> {
  const end = Date.now() + DEADLINE;
  for (;;) {
    process.kill(pid, 'SIGUSR1');
    const inspected = await open(pid);
    if (inspected) return inspected;
    // somebody else's inspector has the port: its turn first
    if (Date.now() > end) throw new Error(`process ${pid} does not open its inspector`);
    await delay(100);
  }
}

async function open(pid: number): Promise<Inspected | undefined> {
  const targets = await fetch(`http://127.0.0.1:${PORT}/json/list`)
    .then((answer) => answer.json() as Promise<{ webSocketDebuggerUrl: string }[]>)
    .catch(() => []);
  if (!targets[0]) return undefined;
  const socket = new WebSocket(targets[0].webSocketDebuggerUrl, { perMessageDeflate: false });
  try {
    const call = caller(socket);
    const evaluate = async (expression: string) =>
      (await call('Runtime.evaluate', { expression })).result?.value ?? '';
    if ((await evaluate('String(process.pid)')) !== String(pid)) return undefined;
    // the second finds what finalizers of the first let go
    for (let n = 0; n < 2; n++) await call('HeapProfiler.collectGarbage');
    const inspected = JSON.parse(await evaluate(EXPRESSION)) as Inspected;
    await evaluate(CLOSE);
    return inspected;
  } catch {
    // its inspector has closed meanwhile
    return undefined;
  } finally {
    socket.terminate();
  }
}

type Call = (method: string, params?: object) => Promise<{ result?: { value: string } }>;

function caller(socket: WebSocket): Call {
  const opened = new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  let last = 0;
  return async (method, params = {}) => {
    await opened;
    const id = ++last;
    return await new Promise((resolve, reject) => {
      const take = (text: unknown) => {
        const message = JSON.parse(String(text)) as { id?: number; result: { result?: { value: string } } };
        if (message.id !== id) return;
        socket.off('message', take);
        resolve(message.result);
      };
      socket.on('message', take);
      socket.once('close', () => reject(new Error('the inspector has gone')));
      socket.send(JSON.stringify({ id, method, params }));
    });
  };
}

const EXPRESSION = `(() => {
  const { heapUsed, external } = process.memoryUsage();
  const handles = {};
  for (const kind of process.getActiveResourcesInfo()) handles[kind] = (handles[kind] ?? 0) + 1;
  const listeners = process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0);
  return JSON.stringify({ heap: heapUsed + external, handles, listeners });
})()`;
const CLOSE = `void setTimeout(() => process.getBuiltinModule('node:inspector').close(), 50)`;

const PORT = 9229;
const DEADLINE = 30_000;
