// An application as a process of its own: `node app.mjs REVISION [BYTES]` prints its port, and ends with its standard input.
import { createServer } from 'node:http';

const [revision, bytes] = process.argv.slice(2);
const body = bytes === undefined ? `revision ${revision}\n` : 'x'.repeat(Number(bytes));
const head = {
  'x-unideploy-revision': revision,
  'content-type': 'text/plain',
  'content-length': Buffer.byteLength(body),
};

const server = createServer((_req, res) => res.writeHead(200, head).end(body));
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
process.stdin.resume().once('end', () => process.exit());
