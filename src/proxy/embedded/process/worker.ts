import type { Server } from 'node:net';
import { parseArgs } from 'node:util';
import type { ListenAddress } from '../../port.ts';
import { LIMITS } from '../limits.ts';
import { logToStderr as log } from '../log.ts';
import { Plane } from '../plane.ts';
import { type Answers, Channel } from './channel.ts';
import { onFault } from './faults.ts';
import type { PrimaryCalls, WorkerCalls } from './messages.ts';
import { planeFiles } from './paths.ts';
import { Turns } from './turns.ts';

/**
 * A worker of the data plane: `node worker.js --state DIR`, started by the primary, which tells it over IPC what to
 * serve. When the primary has gone it gives up its ports at once, answers what it has under way, and ends.
 */
const { values } = parseArgs({ options: { state: { type: 'string', default: '/' } } });

const plane = new Plane({ log, listenOn, accessLog: planeFiles(values.state).accessLog });
/** a verdict that was reached after a table had been sent must not be overtaken by it */
const turns = new Turns();
const answers: Answers<WorkerCalls> = {
  ping: () => undefined,
  apply: (table, unhealthy) =>
    turns.take(async () => {
      await plane.apply(table.service, table);
      for (const instance of unhealthy) plane.verdict(table.service, instance, false);
    }),
  remove: (service, graceMs) => plane.remove(service, graceMs),
  status: () => plane.status(),
  drained: (service, instance, deadlineMs, signal) => plane.drained(service, instance, deadlineMs, signal),
  figures: (service) => plane.figures(service),
  verdict: (service, instance, healthy) => turns.take(async () => plane.verdict(service, instance, healthy)),
  leave: (graceMs) => plane.leave(graceMs),
  close: (graceMs) => plane.close(graceMs),
};
const primary = new Channel<PrimaryCalls>(process, answers);
const listening = new Map<string, Server>();

/** The port is the primary's: its socket is listened on here, beside the other workers. */
function listenOn(server: Server, address: ListenAddress): void {
  const key = `${address.host} ${address.port}`;
  const fail = (error: Error) => server.emit('error', error);
  // the socket would take a second server as well, and share the connections among the two
  if (listening.get(key)?.listening) {
    process.nextTick(fail, Object.assign(new Error('listen EADDRINUSE'), { code: 'EADDRINUSE' }));
    return;
  }
  listening.set(key, server);
  primary.call('socketAt', [address]).then((socket) => server.listen(socket, LIMITS.backlog), fail);
}

async function end(code: number): Promise<void> {
  await plane.leave(LIMITS.softClose);
  process.exit(code);
}

let failing = false;
onFault(log, () => {
  if (failing) return;
  failing = true;
  primary.call('failing', []).catch(() => undefined);
  void end(4);
});
// the primary alone decides, also when the whole process group is signalled
for (const signal of ['SIGHUP', 'SIGTERM', 'SIGINT'] as const) process.on(signal, () => undefined);
void primary.closed.then(() => end(0));
