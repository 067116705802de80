import { createConnection, type Socket } from 'node:net';

/** One JSON object of the QEMU Machine Protocol, not looked into yet. */
export type Frame = Record<string, unknown>;

export interface WireListener {
  frame(frame: Frame): void;
  /** Called once, whoever closed it; nothing follows. */
  closed(cause: Error): void;
}

export interface Wire {
  send(frame: Frame): void;
  close(): void;
}

/** The longest line taken, in bytes: a block graph of thousands of nodes stays far below. */
const FRAME_LIMIT = 8 * 1024 * 1024;
const MOST_PIECES = 4096;

/**
 * Connects to a Unix socket that speaks one JSON object a line. Rejects with the socket's own error (`ENOENT`,
 * `ECONNREFUSED`, …) when nobody listens. A line that is too long or no JSON object closes the wire: what follows it
 * cannot be trusted.
 */
export function openWire(path: string, listener: WireListener, limit = FRAME_LIMIT): Promise<Wire> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ path });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(wireOn(socket, listener, limit));
    });
  });
}

function wireOn(socket: Socket, listener: WireListener, limit: number): Wire {
  let cause: Error | null = null;
  const lines = lineSplitter(limit);
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const line of lines(chunk)) {
        if (cause !== null) return;
        listener.frame(parse(line));
      }
    } catch (error) {
      cause = error as Error;
      socket.destroy();
    }
  });
  socket.on('error', (error) => {
    cause ??= error;
  });
  socket.on('close', () => listener.closed(cause ?? new Error('the other side closed the connection')));
  return {
    send(frame) {
      if (!socket.destroyed) socket.write(`${JSON.stringify(frame)}\n`);
    },
    close() {
      cause ??= new Error('the connection was closed here');
      socket.destroy();
    },
  };
}

function lineSplitter(limit: number): (chunk: Buffer) => string[] {
  let rest: Buffer[] = [];
  let size = 0;
  return (chunk) => {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      // Joined as bytes: a character may be split between two chunks.
      const line = Buffer.concat([...rest, chunk.subarray(start, end)]).toString('utf8');
      if (line.trim() !== '') lines.push(line);
      rest = [];
      size = 0;
      start = end + 1;
    }
    if (start < chunk.length) {
      rest.push(chunk.subarray(start));
      size += chunk.length - start;
    }
    // Each piece costs more than its bytes: those of a line that comes byte by byte are put together now and then.
    if (rest.length > MOST_PIECES) rest = [Buffer.concat(rest)];
    if (size > limit) throw new Error(`a line of more than ${limit} bytes`);
    return lines;
  };
}

function parse(line: string): Frame {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new Error(`not JSON: ${line.slice(0, 80)}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new Error(`not a JSON object: ${line.slice(0, 80)}`);
  return value as Frame;
}
