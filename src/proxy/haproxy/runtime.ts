import { once } from 'node:events';
import { connect } from 'node:net';
import { UnideployError } from '../../errors.ts';
import { LIMITS } from './limits.ts';
import { FRONTEND, POOLS } from './names.ts';

/** What HAProxy counts. */
export interface Figures {
  requests: number;
  /** answered with an error of HAProxy's own, the hold's included */
  failures: number;
  held: number;
  /** requests that have an instance */
  inFlight: number;
  servers: ServerFigures[];
}

interface ServerFigures {
  name: string;
  inFlight: number;
  weight: number;
  /** what HAProxy says: UP, DOWN, MAINT, … */
  status: string;
}

/** HAProxy's runtime API, one command a connection. UD_PROXY_FAILED: it does not answer, or refuses a command. */
export class Runtime {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  async figures(): Promise<Figures> {
    const [stat, held] = await Promise.all([this.#ask('show stat'), this.#ask('unideploy held')]);
    const rows = readRows(stat);
    const frontend = rows.find(({ pxname }) => pxname === FRONTEND) ?? {};
    const pools = rows.filter(({ pxname }) => POOLS.some((pool) => pool === pxname));
    const backends = pools.filter(({ svname }) => svname === 'BACKEND');
    const [waiting, refused] = held.trim().split(' ').map(Number);
    return {
      requests: Number(frontend.req_tot ?? 0),
      failures: Number(frontend.ereq ?? 0) + (refused ?? 0) + sum(backends, 'econ') + sum(backends, 'eresp'),
      held: waiting ?? 0,
      inFlight: sum(backends, 'scur'),
      servers: serversOf(pools.filter(({ svname }) => svname !== 'BACKEND')),
    };
  }

  async addServer(name: string, address: string, options: string): Promise<void> {
    for (const pool of POOLS) {
      const answer = await this.#ask(`add server ${pool}/${name} ${address} ${options} weight 0`);
      // what an interrupted table left is taken on
      if (!/New server registered|Already exists/.test(answer)) throw refusedOrder('add server', answer);
    }
    await this.#orders((pool) => `enable health ${pool}/${name}`);
    await this.#orders((pool) => `enable server ${pool}/${name}`);
  }

  /** False while something is still attached to the server. */
  async deleteServer(name: string): Promise<boolean> {
    const answers = await Promise.all(POOLS.map((pool) => this.#ask(`del server ${pool}/${name}`)));
    return answers.every((answer) => /Server deleted|No such server/.test(answer));
  }

  async setWeight(name: string, weight: number): Promise<void> {
    await this.#orders((pool) => `set server ${pool}/${name} weight ${weight}`);
  }

  /** `maint`: no new requests, and idle connections close; those in flight go on. */
  async setState(name: string, state: 'ready' | 'maint'): Promise<void> {
    await this.#orders((pool) => `set server ${pool}/${name} state ${state}`);
  }

  /** Ends what is in flight on the server. */
  async cut(name: string): Promise<void> {
    await this.#orders((pool) => `shutdown sessions server ${pool}/${name}`);
  }

  /** Whether requests that find no instance are refused instead of waiting. */
  async setClosed(closed: boolean): Promise<void> {
    await this.#ask(closed ? 'unideploy close' : 'unideploy open');
  }

  /** Gives the port up; connections go on, and are told to close. Idempotent. */
  async stopListening(): Promise<void> {
    await this.#ask(`shutdown frontend ${FRONTEND}`);
  }

  async answers(): Promise<boolean> {
    return this.#ask('show info').then(
      (text) => text.startsWith('Name: HAProxy'),
      () => false,
    );
  }

  /** Commands that say nothing when they have been done; a server that is gone has nothing to be done to. */
  async #orders(command: (pool: string) => string): Promise<void> {
    for (const pool of POOLS) {
      const answer = (await this.#ask(command(pool))).trim();
      if (answer !== '' && !answer.includes('No such server')) throw refusedOrder(command(pool), answer);
    }
  }

  async #ask(command: string): Promise<string> {
    const socket = connect({ path: this.#socket, allowHalfOpen: true });
    socket.setTimeout(LIMITS.answer, () => socket.destroy(new Error('no answer in time')));
    try {
      await once(socket, 'connect');
      socket.write(`${command}\n`);
      let text = '';
      for await (const piece of socket) text += String(piece);
      return text;
    } catch (error) {
      throw new UnideployError(
        'UD_PROXY_FAILED',
        `HAProxy does not answer on ${this.#socket}: ${(error as Error).message}`,
        'its log is beside the socket',
        { cause: error },
      );
    } finally {
      socket.destroy();
    }
  }
}

function readRows(csv: string): Record<string, string>[] {
  const [head = '', ...lines] = csv.replace(/^# /, '').trim().split('\n');
  const columns = head.split(',');
  return lines.map((line) => {
    const cells = line.split(',');
    return Object.fromEntries(columns.map((column, i) => [column, cells[i] ?? '']));
  });
}

/** The servers of both backends, each instance once. */
function serversOf(rows: Record<string, string>[]): ServerFigures[] {
  const names = new Set(rows.map(({ svname = '' }) => svname));
  return [...names].map((name) => {
    const own = rows.filter(({ svname }) => svname === name);
    const [{ weight = '0', status = '' } = {}] = own;
    return { name, inFlight: sum(own, 'scur'), weight: Number(weight), status };
  });
}

function sum(rows: Record<string, string>[], column: string): number {
  return rows.reduce((total, row) => total + Number(row[column] ?? 0), 0);
}

function refusedOrder(command: string, answer: string): UnideployError {
  return new UnideployError(
    'UD_PROXY_FAILED',
    `HAProxy refused “${command}”: ${answer.trim().split('\n')[0] ?? ''}`,
    'the table is applied again with its next version',
  );
}
