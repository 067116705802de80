import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import pRetry from 'p-retry';
import type { Dispatcher } from 'undici';
import type { DataCopy } from '../domain/data-copy.ts';
import type { JournalEntry } from '../domain/journal.ts';
import type { Progress } from '../domain/progress.ts';
import type { Revision } from '../domain/revision.ts';
import type { Rollout } from '../domain/rollout.ts';
import type { Kept } from '../engine/data.ts';
import { type ErrorReport, fromReport, UnideployError } from '../errors.ts';
import type { DataVolumeState } from '../hypervisor/port.ts';
import type { JobLine } from './job-stream.ts';
import { ANSWER_WITHIN, type Asking, type Elsewhere, localLink, remoteLink } from './link.ts';
import type {
  Collected,
  DeployRequest,
  ListedSnapshot,
  Ordered,
  Plan,
  Pong,
  Reverted,
  ShownService,
  ShownSnapshot,
  Started,
  TakeRequest,
} from './messages.ts';
import type { StatePaths } from './paths.ts';
import type { CopyWish } from './volume-copies.ts';

/** Milliseconds for the end of a controller and of its data plane, which answers its last requests for up to 30 s. */
const ENDS_WITHIN = 45_000;

export interface History {
  rollouts: Rollout[];
  revisions: Revision[];
}

/** How a job is followed. */
export interface Following {
  report: (progress: Progress) => void;
  /** cancels the job */
  signal: AbortSignal;
}

/** The API as a client sees it; refusals come back as the UnideployErrors they are. */
export interface Client {
  ping(): Promise<Pong>;
  /** Ends the controller and its data plane, and waits until both are gone; one that has services goes on. */
  stop(): Promise<void>;
  /** Puts a file into the controller's store, unless its bytes are there. */
  upload(digest: string, file: string): Promise<void>;
  /** Writes an artifact of the store into a new file. */
  download(digest: string, file: string): Promise<void>;
  /** See `Collector.remove`. */
  removeArtifact(digest: string): Promise<void>;
  /** See `Collector.collect`. */
  collect(unusedFor: number, dryRun: boolean): Promise<Collected>;
  pin(name: string, revision: number, pinned: boolean, performer: string): Promise<Revision>;
  /** The data volumes of all services. */
  dataVolumes(): Promise<DataVolumeState[]>;
  snapshotData(name: string, volume: string, snapshot: string | null, performer: string): Promise<Kept>;
  forgetData(name: string, volume: string, snapshot: string, performer: string): Promise<void>;
  revertData(name: string, volume: string, snapshot: string, performer: string): Promise<Reverted>;
  growData(name: string, volume: string, size: number, performer: string): Promise<void>;
  removeData(name: string, volume: string, performer: string): Promise<void>;
  snapshots(name: string): Promise<ListedSnapshot[]>;
  /** See `Snapshots.create`; a job. */
  takeSnapshot(name: string, request: TakeRequest, following: Following): Promise<ShownSnapshot>;
  /** @param replaces null: the instance that was saved */
  restore(name: string, snapshot: string, replaces: string | null, performer: string): Promise<Started>;
  removeSnapshot(name: string, snapshot: string): Promise<void>;
  services(): Promise<ShownService[]>;
  service(name: string): Promise<ShownService>;
  history(name: string): Promise<History>;
  /** The last entries of the service's journal, oldest first. */
  audit(name: string): Promise<JournalEntry[]>;
  deploy(name: string, request: DeployRequest): Promise<Started>;
  plan(name: string, request: DeployRequest): Promise<Plan>;
  rollback(name: string, to: number | null, performer: string): Promise<Started>;
  scale(name: string, replicas: number, performer: string): Promise<Started>;
  down(name: string, performer: string): Promise<Started>;
  restart(name: string, performer: string): Promise<Started>;
  retry(name: string, performer: string): Promise<Started>;
  /** These four are for the rollout under way, which hears of it soon. */
  promote(name: string, full: boolean, performer: string): Promise<Ordered>;
  pause(name: string, performer: string): Promise<Ordered>;
  resume(name: string, performer: string): Promise<Ordered>;
  /** @param rollout that one and no other; null: whichever is under way */
  abort(name: string, rollout: number | null, performer: string): Promise<Ordered>;
  /** The rollout's journal after position `after`, as it is written, to its last entry, or until the signal says so. */
  journal(rollout: number, after: number, signal?: AbortSignal): AsyncGenerator<JournalEntry>;
  /** The last lines of an instance's console; with `follow`, and those that come, until the instance is gone. */
  console(instance: string, lines: number, follow: boolean): AsyncGenerator<string>;
  /**
   * Has a long job done, and resolves with its result; going away cancels it.
   * @throws the job's error; UD_CONTROLLER_LOST when the controller, and so the job, ended before
   */
  job<R>(path: string, message: unknown, following: Following): Promise<R>;
  /** The copies of a service's data volumes, the oldest first. */
  dataCopies(name: string): Promise<DataCopy[]>;
  /** See `VolumeCopies.make`: a job. */
  copyData(name: string, volume: string, wish: CopyWish, following: Following): Promise<DataCopy>;
  /** Writes a copy into a new file. */
  downloadCopy(copy: Pick<DataCopy, 'service' | 'volume' | 'id'>, file: string): Promise<void>;
  removeCopy(name: string, volume: string, id: string, performer: string): Promise<void>;
  /** See `VolumeCopies.restore`. */
  restoreData(name: string, volume: string, id: string, performer: string): Promise<void>;
  /** What nobody owns, and the controller will remove, in sentences. */
  leftovers(): Promise<string[]>;
  /** See `DataPlane.upgrade`. */
  upgradeProxy(): Promise<void>;
  /** See `DataPlane.metrics`. */
  metrics(): Promise<string>;
  close(): Promise<void>;
}

export function apiClient(paths: StatePaths, elsewhere: Elsewhere | null = null): Client {
  const { request, close } = elsewhere === null ? localLink(paths) : remoteLink(elsewhere);
  const send = async (options: Asking): Promise<Dispatcher.ResponseData> => {
    const response = await request(options);
    if (response.statusCode < 400) return response;
    throw refusalOf(response.statusCode, await response.body.text());
  };
  const get = async <T>(path: string): Promise<T> =>
    (await (await send({ method: 'GET', path })).body.json()) as T;
  const post = async <T>(path: string, message: unknown = {}, headersTimeout = ANSWER_WITHIN): Promise<T> => {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify(message);
    return (await (await send({ method: 'POST', path, headers, body, headersTimeout })).body.json()) as T;
  };
  const job = async <R>(path: string, message: unknown, { report, signal }: Following): Promise<R> => {
    const headers = { 'content-type': 'application/json' };
    const { body } = await send({ method: 'POST', path, headers, body: JSON.stringify(message), signal });
    return await resultOf<R>(linesOf(body), report, signal);
  };

  /** What is answered by nothing. */
  const tell = async (path: string, message: unknown, headersTimeout = ANSWER_WITHIN): Promise<void> => {
    const headers = { 'content-type': 'application/json' };
    const options = { method: 'POST', path, headers, body: JSON.stringify(message) } as const;
    await (await send({ ...options, headersTimeout })).body.dump();
  };

  return {
    ping: () => get('/ping'),
    async stop() {
      const { pid } = await get<Pong>('/ping');
      const { stopped } = await post<{ stopped: boolean }>('/stop');
      if (stopped && elsewhere === null) await ended(pid);
    },
    async upload(digest, file) {
      const path = `/artifacts/${digest}`;
      const { statusCode, body } = await request({ method: 'HEAD', path });
      await body.dump();
      if (statusCode === 200) return;
      const headers = { 'content-type': 'application/octet-stream' };
      const response = await send({ method: 'PUT', path, headers, body: createReadStream(file) });
      await response.body.dump();
    },
    async download(digest, file) {
      const { body } = await send({ method: 'GET', path: `/artifacts/${digest}` });
      await pipeline(body, createWriteStream(file, { flags: 'wx' }));
    },
    async removeArtifact(digest) {
      await (await send({ method: 'DELETE', path: `/artifacts/${digest}` })).body.dump();
    },
    collect: (unusedFor, dryRun) => post('/artifacts/collect', { unusedFor, dryRun }),
    pin: (name, revision, pinned, performer) => post(at(name, 'pin'), { revision, pinned, performer }),
    dataVolumes: () => get('/data'),
    snapshotData: (name, volume, snapshot, performer) =>
      post(at(name, inData(volume, 'snapshot')), { snapshot, performer }),
    revertData: (name, volume, snapshot, performer) =>
      post(at(name, inData(volume, 'revert')), { snapshot, performer }),
    forgetData: (name, volume, snapshot, performer) =>
      tell(at(name, inData(volume, 'forget')), { snapshot, performer }),
    growData: (name, volume, size, performer) => tell(at(name, inData(volume, 'grow')), { size, performer }),
    removeData: (name, volume, performer) => tell(at(name, inData(volume, 'remove')), { performer }),
    snapshots: (name) => get(at(name, 'snapshots')),
    takeSnapshot: (name, message, following) => job(at(name, 'snapshots'), message, following),
    restore: (name, snapshot, replaces, performer) =>
      post(`${snapshotAt(name, snapshot)}/restore`, { replaces, performer }),
    async removeSnapshot(name, snapshot) {
      await (await send({ method: 'DELETE', path: snapshotAt(name, snapshot) })).body.dump();
    },
    leftovers: () => get('/leftovers'),
    services: () => get('/services'),
    service: (name) => get(at(name)),
    history: (name) => get(at(name, 'history')),
    audit: (name) => get(at(name, 'audit')),
    // One that takes over waits until nothing is under way in the other any more.
    deploy: (name, request) => post(at(name, 'rollouts'), request, request.supersede ? 0 : ANSWER_WITHIN),
    plan: (name, request) => post(at(name, 'plan'), request),
    rollback: (name, to, performer) => post(at(name, 'rollback'), { to, performer }),
    scale: (name, replicas, performer) => post(at(name, 'scale'), { replicas, performer }),
    down: (name, performer) => post(at(name, 'down'), { performer }),
    restart: (name, performer) => post(at(name, 'restart'), { performer }),
    retry: (name, performer) => post(at(name, 'retry'), { performer }),
    promote: (name, full, performer) => post(at(name, 'promote'), { full, performer }),
    pause: (name, performer) => post(at(name, 'pause'), { performer }),
    resume: (name, performer) => post(at(name, 'resume'), { performer }),
    abort: (name, rollout, performer) => post(at(name, 'abort'), { rollout, performer }),
    async *journal(rollout, after, signal) {
      const path = `/rollouts/${rollout}/journal?after=${after}`;
      const { body } = await send({ method: 'GET', path, signal: signal ?? null });
      for await (const line of linesOf(body)) yield JSON.parse(line) as JournalEntry;
    },
    async *console(instance, lines, follow) {
      const path = `/instances/${encodeURIComponent(instance)}/console?lines=${lines}${follow ? '&follow=1' : ''}`;
      const { body } = await send({ method: 'GET', path });
      yield* linesOf(body);
    },
    job,
    dataCopies: (name) => get(at(name, 'copies')),
    copyData: (name, volume, wish, following) => job(at(name, inData(volume, 'copies')), wish, following),
    async downloadCopy({ service, volume, id }, file) {
      const { body } = await send({ method: 'GET', path: at(service, inData(volume, `copies/${id}`)) });
      await pipeline(body, createWriteStream(file, { flags: 'wx', mode: 0o600 }));
    },
    removeCopy: (name, volume, id, performer) =>
      tell(at(name, inData(volume, `copies/${encodeURIComponent(id)}/remove`)), { performer }),
    // The copy is read through first.
    restoreData: (name, volume, id, performer) =>
      tell(at(name, inData(volume, `copies/${encodeURIComponent(id)}/restore`)), { performer }, 0),
    async upgradeProxy() {
      await post('/proxy/upgrade');
    },
    metrics: async () => await (await send({ method: 'GET', path: '/metrics' })).body.text(),
    close,
  };
}

async function resultOf<R>(
  lines: AsyncIterable<string>,
  report: Following['report'],
  signal: AbortSignal,
): Promise<R> {
  let cause: unknown;
  try {
    for await (const text of lines) {
      const line = JSON.parse(text) as JobLine<R>;
      if ('error' in line) throw fromReport(line.error);
      if ('result' in line) return line.result;
      report(line);
    }
  } catch (error) {
    if (error instanceof UnideployError || signal.aborted) throw error;
    cause = error;
  }
  const next = 'nothing half done counts: start the controller again, then the job';
  throw new UnideployError('UD_CONTROLLER_LOST', 'the controller went away during a job', next, { cause });
}

/** What answered may be another program, or a controller of another version. */
function refusalOf(status: number, text: string): UnideployError {
  try {
    return fromReport((JSON.parse(text) as { error: ErrorReport }).error);
  } catch (cause) {
    const message = `what answered is no controller of this version: status ${status}, ${text.slice(0, 200)}`;
    const next =
      'see that the address is the one of a controller, and use the unideploy command of its version';
    return new UnideployError('UD_REQUEST', message, next, {
      cause,
    });
  }
}

function at(service: string, what?: string): string {
  return `/services/${encodeURIComponent(service)}${what === undefined ? '' : `/${what}`}`;
}

function inData(volume: string, what: string): string {
  return `data/${encodeURIComponent(volume)}/${what}`;
}

function snapshotAt(service: string, snapshot: string): string {
  return at(service, `snapshots/${encodeURIComponent(snapshot)}`);
}

/** Node's readline would leave the body open, and its end unheard, when the reader stops early. */
async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') yield rest;
}

async function ended(pid: number): Promise<void> {
  const message = `the controller (process ${pid}) has not ended`;
  await pRetry(
    () => {
      if (isAlive(pid)) throw new UnideployError('UD_DEADLINE', message, 'end it by hand');
    },
    { retries: ENDS_WITHIN / 20, factor: 1, minTimeout: 20 },
  );
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
