// An application that takes connections as QEMU's user network does: a backlog of 1, and some milliseconds to accept each.
// `node narrow-app.mjs MS` prints its port, and ends with its standard input.
import { createServer } from 'node:http';

const ms = Number(process.argv[2]);
const clock = new Int32Array(new SharedArrayBuffer(4));

const server = createServer((req, res) => {
  req.resume();
  req.once('end', () => res.end('ok\n'));
});
// nothing else goes on meanwhile, nobody else is accepted
server.on('connection', () => Atomics.wait(clock, 0, 0, ms));
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () =>
  process.stdout.write(`${server.address().port}\n`),
);
process.stdin.resume().once('end', () => process.exit());
