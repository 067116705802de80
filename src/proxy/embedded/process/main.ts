import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { FastifyInstance } from 'fastify';
import { boundLog } from '../../../bounded-log.ts';
import { report } from '../../../errors.ts';
import { LIMITS } from '../limits.ts';
import { logToStderr as log } from '../log.ts';
import { type Answers, Channel } from './channel.ts';
import { claim, listenBeside } from './claim.ts';
import { Command, type Reign } from './command.ts';
import { controlServer } from './control.ts';
import { onFault } from './faults.ts';
import type { ServingCalls, SuccessorCalls } from './messages.ts';
import { type PlaneFiles, planeFiles, writePid } from './paths.ts';
import { Primary } from './primary.ts';
import { startSuccessor } from './succession.ts';

/**
 * The data plane's primary process: `node main.js --state DIR [--workers N] [--token N]`, one worker for each core
 * without N, commanded by the controller of that token. It serves until POST /stop on DIR/proxy.sock or SIGTERM, and then answers the requests in flight for up to 30 s. Exit
 * codes: 0, 2 (usage), 4 (failed), 5 (another one runs). With --heir, another one has started it to take its place.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      state: { type: 'string' },
      workers: { type: 'string' },
      token: { type: 'string' },
      heir: { type: 'boolean' },
    },
  });
  const workers = values.workers === undefined ? availableParallelism() : Number(values.workers);
  if (!values.state || !Number.isInteger(workers) || workers < 1) {
    log('error', 'usage: main.js --state DIR [--workers N]');
    process.exit(2);
  }
  const args = ['--state', resolve(values.state), '--workers', String(workers), '--heir'];
  const command = new Command(Number(values.token ?? 0));
  await new DataPlaneProcess(resolve(values.state), workers, args, command).start(values.heir === true);
}

class DataPlaneProcess {
  readonly #files: PlaneFiles;
  readonly #primary: Primary;
  readonly #command: Command;
  readonly #app: FastifyInstance;
  /** what the next primary is called with */
  readonly #heirArgs: string[];
  /** of an heir: until this has been renamed to the socket's well-known name, another process is the data plane */
  #beside: string | undefined;
  #heir = false;
  #ending = false;

  constructor(state: string, workers: number, heirArgs: string[], command: Command) {
    this.#files = planeFiles(state);
    this.#primary = new Primary({ state, workers, log });
    this.#heirArgs = heirArgs;
    this.#command = command;
    this.#app = controlServer(this.#primary, command, this.#files.socket, {
      stop: () => void this.#end(0, 'stopped'),
      upgrade: (entry, reign) => this.#upgrade(entry, reign),
    });
  }

  async start(heir: boolean): Promise<void> {
    onFault(log, () => void this.#end(4, 'a fault in the data plane'));
    process.on('SIGHUP', () => undefined);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void this.#end(0, signal));
    this.#heir = heir;
    if (heir) this.#awaitEstate();
    else await this.#begin();
  }

  async #begin(): Promise<void> {
    const { socket } = this.#files;
    if (!(await claim(socket, (path) => this.#app.listen({ path })))) {
      log('error', 'another data plane serves this state directory', { socket });
      process.exit(5);
    }
    writePid(this.#files, process.pid);
    log('info', 'data plane started', { pid: process.pid, socket });
    await this.#primary.start();
    this.#boundLogs();
  }

  /** They are written at every request, whether a controller lives or not. */
  #boundLogs(): void {
    const { log: own, accessLog } = this.#files;
    const bound = () => Promise.all([own, accessLog].map((file) => boundLog(file).catch(() => undefined)));
    setInterval(() => void bound(), LIMITS.boundLogs).unref();
  }

  #awaitEstate(): void {
    const { socket } = this.#files;
    const answers: Answers<SuccessorCalls> = {
      inherit: async (estate) => {
        this.#command.hear(estate.token ?? 0);
        await this.#primary.inherit(estate, before);
        this.#boundLogs();
        this.#beside = await listenBeside(socket, (path) => this.#app.listen({ path }));
        log('info', 'data plane serves beside the one before', { pid: process.pid });
        return { pid: process.pid, socket: this.#beside };
      },
    };
    const before = new Channel<ServingCalls>(process, answers);
    void before.closed.then(() => {
      if (!this.#inCommand()) void this.#end(4, 'the one before has gone in the midst of the upgrade');
    });
  }

  async #upgrade(entry = process.argv[1] ?? '', reign: Reign): Promise<{ pid: number }> {
    const options = {
      entry,
      args: this.#heirArgs,
      files: this.#files,
      answers: this.#primary.serving,
      wanted: () => !this.#ending,
    };
    const { pid } = await this.#primary.handOver(
      (estate, sockets) => startSuccessor(options, { ...estate, token: this.#command.token }, sockets),
      reign,
    );
    log('info', 'another one has taken over', { pid });
    void this.#leave();
    return { pid };
  }

  /** Ends with the last request of its workers, and of its callers. */
  async #leave(): Promise<void> {
    await this.#primary.leave(LIMITS.softClose);
    await this.#app.close();
    log('info', 'ended, as another one has taken over', { pid: process.pid });
    process.exit(0);
  }

  /** Gives the control socket and the ports up at once, so that a successor can take them, and ends with the last request. */
  async #end(code: number, why: string): Promise<void> {
    if (this.#ending || this.#primary.superseded) return;
    this.#ending = true;
    log('info', 'ending', { why });
    if (this.#inCommand()) {
      await rm(this.#files.socket, { force: true });
      await rm(this.#files.pid, { force: true });
    }
    this.#app.server.closeAllConnections();
    await this.#app.close();
    await this.#primary.close(LIMITS.softClose);
    process.exit(code);
  }

  #inCommand(): boolean {
    return !this.#heir || (this.#beside !== undefined && !existsSync(this.#beside));
  }
}

main().catch((error) => {
  log('error', 'cannot start', { ...report(error) });
  process.exit(4);
});
