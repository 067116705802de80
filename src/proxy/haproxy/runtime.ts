import { once } from 'node:events';
import { connect } from 'node:net';
import { UnideployError } from '../../errors.ts';
import { LIMITS } from './limits.ts';
import { FRONTEND } from './names.ts';
import type { ServerLine } from './pools.ts';
import { readSessions, type Session } from './sessions.ts';
import { readStat, type Stat } from './stat.ts';

/** HAProxy's runtime API. UD_PROXY_FAILED: it does not answer, or refuses a command. */
export class Runtime {
  readonly #socket: string;
  readonly #expectCommand: () => void;

  /** @param expectCommand called right before every command that changes something; throws UD_FENCED */
  constructor(socket: string, expectCommand: () => void) {
    this.#socket = socket;
    this.#expectCommand = expectCommand;
  }

  async stat(): Promise<Stat> {
    const [stat, held] = await Promise.all([this.#ask('show stat'), this.#ask('unideploy held')]);
    return readStat(stat, held);
  }

  async sessions(): Promise<Session[]> {
    return readSessions(await this.#ask('show sess all'));
  }

  /** New servers take nothing until they have a weight. What an interrupted table left is taken on. */
  async addServers(backend: string, servers: ServerLine[], options: string): Promise<void> {
    const add = ({ name, address }: ServerLine) =>
      `add server ${backend}/${name} ${address} ${options} weight 0`;
    await this.#orders(servers.map(add), /^New server registered\.$|Already exists/);
    await this.#orders(
      servers.flatMap(({ name }) => [`enable health ${backend}/${name}`, `enable server ${backend}/${name}`]),
    );
  }

  /** False while something is still attached to the server. */
  async deleteServer(backend: string, name: string): Promise<boolean> {
    return /Server deleted|No such server/.test(await this.#ask(`del server ${backend}/${name}`));
  }

  async setWeights(backend: string, servers: Pick<ServerLine, 'name' | 'weight'>[]): Promise<void> {
    await this.#orders(servers.map(({ name, weight }) => `set server ${backend}/${name} weight ${weight}`));
  }

  /** `maint`: no new requests, and idle connections close; those in flight go on. */
  async setState(backend: string, names: string[], state: 'ready' | 'maint'): Promise<void> {
    await this.#orders(names.map((name) => `set server ${backend}/${name} state ${state}`));
  }

  /** Ends what is in flight on the server. */
  async cut(backend: string, name: string): Promise<void> {
    await this.#orders([`shutdown sessions server ${backend}/${name}`]);
  }

  async cutSessions(ids: string[]): Promise<void> {
    await this.#orders(
      ids.map((id) => `shutdown session ${id}`),
      /No such session/,
    );
  }

  /** Whether requests of a service (its word) that find no instance are refused instead of waiting. */
  async setClosed(service: string, closed: boolean): Promise<void> {
    await this.#ask(`unideploy ${closed ? 'close' : 'open'} ${service}`);
  }

  async hasMap(file: string): Promise<boolean> {
    return (await this.#ask('show map')).includes(`(${file})`);
  }

  /** Puts all entries of a map in the place of those it has. */
  async setMap(file: string, entries: [string, string][]): Promise<void> {
    const version = /(\d+)/.exec(await this.#ask(`prepare map ${file}`))?.[1];
    const lines = entries.map(([key, value]) => `${key} ${value}\n`).join('');
    if (lines !== '') await this.#quiet(`add map @${version} ${file} <<\n${lines}`);
    await this.#quiet(`commit map @${version} ${file}`);
  }

  /** Puts a certificate and its key in the place of the one that was read from `file`; connections keep theirs. */
  async setCertificate(file: string, pem: string): Promise<void> {
    const set = await this.#ask(`set ssl cert ${file} <<\n${pem.replaceAll(/\n+/g, '\n').trim()}\n`);
    const committed = await this.#ask(`commit ssl cert ${file}`);
    if (!committed.includes('Success')) throw refusedOrder(`set ssl cert ${file}`, set + committed);
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

  /** Commands that say nothing, or what is expected, when they have been done; a server that is gone has nothing to be done to. */
  async #orders(commands: string[], expected = /No such server/): Promise<void> {
    for (let first = 0; first < commands.length; first += BATCH) {
      const batch = commands.slice(first, first + BATCH).join('; ');
      const unexpected = (await this.#ask(batch))
        .split('\n')
        .find((line) => line !== '' && !expected.test(line));
      if (unexpected !== undefined) throw refusedOrder(batch, unexpected);
    }
  }

  async #quiet(command: string): Promise<void> {
    const said = (await this.#ask(command)).trim();
    if (said !== '') throw refusedOrder(command, said);
  }

  async #ask(command: string): Promise<string> {
    const socket = connect({ path: this.#socket, allowHalfOpen: true });
    socket.setTimeout(LIMITS.answer, () => socket.destroy(new Error('no answer in time')));
    try {
      await once(socket, 'connect');
      if (!QUESTION.test(command)) this.#expectCommand();
      socket.write(`${command}\n`);
      let text = '';
      for await (const piece of socket) text += String(piece);
      return text;
    } catch (error) {
      if (error instanceof UnideployError) throw error;
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

/** Commands that change nothing. */
const QUESTION = /^(show |unideploy held$)/;

/** Commands on one line: it has to fit HAProxy's buffer. */
const BATCH = 16;

function refusedOrder(command: string, answer: string): UnideployError {
  return new UnideployError(
    'UD_PROXY_FAILED',
    `HAProxy refused “${command.split('\n')[0] ?? ''}”: ${answer.trim().split('\n')[0] ?? ''}`,
    'the table is applied again with its next version',
  );
}
