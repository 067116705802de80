import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Sample } from '../../domain/memory.ts';
import type { Exit, Vitals } from '../../domain/supervision.ts';
import { UnideployError } from '../../errors.ts';
import type { AttachedVolume, Endpoint, InstanceSpec, VirtualMachine } from '../port.ts';
import { type Attachment, deviceOf } from './attachments.ts';
import { commanded, type ExpectCommand } from './command.ts';
import { attachedVolumes } from './hotplug.ts';
import { connectMonitor } from './monitors.ts';
import type { Ended } from './process.ts';
import { forwardedPort, guestMemory, pollMemory, queryName, queryStatus } from './qmp/commands.ts';
import type { QmpEvent, QmpSession } from './qmp/session.ts';
import { livingPid, type RunDirectory, readEndpoint, writeAtomically } from './run-directory.ts';
import { endStandstill } from './standstill.ts';
import { queue, until } from './wait.ts';

/** Milliseconds a machine may keep an observer waiting. */
const PROMPT_MS = 300;
/** Milliseconds for which QEMU's last word on its run state counts, unless it says something: it tells of every change. */
const STATE_COUNTS_FOR = 2_000;

/** Events that come often and change nothing here. */
const NOISE = new Set(['RTC_CHANGE', 'NIC_RX_FILTER_CHANGED', 'BALLOON_CHANGE', 'VSERPORT_CHANGE']);

/** Events that say what became of a guest. */
const TELLING = new Set([
  'GUEST_PANICKED',
  'GUEST_CRASHLOADED',
  'STOP',
  'SHUTDOWN',
  'RESET',
  'BLOCK_IO_ERROR',
  'WATCHDOG',
  'MEMORY_FAILURE',
]);
const KEPT_EVENTS = 10;
/** How often a guest tells of its memory. */
const POLL_SECONDS = 1;

const UNKNOWN = { runState: null, endpoint: null, volumes: [] };

/** One machine as this process knows it: its run directory, and the one session with its monitor. */
export class Machine {
  spec: InstanceSpec;
  readonly directory: RunDirectory;
  readonly expectCommand: ExpectCommand;
  /** runs changes of this machine one after the other */
  readonly exclusively = queue();
  /** true from before its process is there until its monitor answers or it failed */
  launching = false;
  /** it stands still while it is being saved */
  saving = false;
  /** its volumes are being changed: what is attached is told when that is over */
  changing = false;
  /** kept as it stands, as evidence */
  frozen: boolean;
  /** it has not been told yet who it is */
  unwoken: boolean;

  #changed: (id: string) => void;
  #opened: (machine: Machine, session: QmpSession) => void;
  #session: QmpSession | null = null;
  #connecting: Promise<QmpSession> | null = null;
  #released = false;
  #endpoint: Endpoint | null = null;
  #volumes: AttachedVolume[] = [];
  /** the same as the last change has left it; null: something else has happened since */
  #attachments: Attachment[] | null = null;
  /** devices that went while its volumes were being changed */
  readonly #deleted = new Set<string>();
  /** counts the times they may have changed; QEMU is asked again when it is ahead of the count they were read at */
  #volumeChanges = 1;
  #volumesReadAt = 0;
  /** QEMU's last answer, when it was asked for it, and when it last told something by itself, by performance.now() */
  #runState: string | null = null;
  #askedAt = Number.NEGATIVE_INFINITY;
  #toldAt = 0;
  /** questions that were not answered promptly and still are open */
  #overdue = new Set<Promise<unknown>>();
  #announced = false;
  #exit: Exit | null = null;
  /** the last that QEMU said by itself */
  #events: string[] = [];
  /** the session that has been told to ask the guest for its memory */
  #polled: QmpSession | null = null;

  constructor(
    spec: InstanceSpec,
    directory: RunDirectory,
    expectCommand: ExpectCommand,
    changed: (id: string) => void,
    opened: (machine: Machine, session: QmpSession) => void = () => {},
  ) {
    this.spec = spec;
    this.directory = directory;
    this.expectCommand = expectCommand;
    this.#changed = changed;
    this.#opened = opened;
    this.frozen = existsSync(directory.frozen);
    this.unwoken = existsSync(directory.unwoken);
  }

  /** Waits for the monitor of a QEMU that was just started. Throws UD_GUEST_START when it ends before. */
  async starting({ ended }: { ended: Ended }, deadlineMs: number): Promise<void> {
    this.#endpoint = null;
    // Until it answers: a slow one would be taken for one without them.
    this.#volumes = this.spec.volumes.map(({ name, digest }) => ({ name, digest }));
    const dead = new AbortController();
    this.#exit = null;
    this.#events = [];
    const failed = ended.then(({ error, exit }) => {
      this.#exit = exit;
      this.#announce();
      dead.abort(error);
      return error;
    });
    try {
      await this.connect(deadlineMs, dead.signal);
    } catch (error) {
      // The monitor hangs up a moment before the process is gone and its exit code is known.
      throw await Promise.race([failed, pause(1_000, error, { signal: dead.signal }).catch(() => failed)]);
    }
  }

  /** The session with the monitor, opened when there is none. Rejects with UD_QMP. */
  async connect(deadlineMs = 5_000, signal?: AbortSignal): Promise<QmpSession> {
    await this.#connecting?.catch(() => {});
    if (this.#session?.open === true) return this.#session;
    this.#connecting ??= this.#open(deadlineMs, signal).finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  /** Where the application is reached, once QEMU has told. */
  get endpoint(): Endpoint | null {
    return this.#endpoint;
  }

  /** The machine as it is now. Takes at most about PROMPT_MS, also when QEMU hangs (`runState` is null then). */
  async observe(): Promise<VirtualMachine> {
    const { spec } = this;
    if (this.frozen) return { ...UNKNOWN, spec, state: 'frozen' };
    if (this.unwoken) return { ...UNKNOWN, spec, state: 'starting' };
    if (this.#session === null && livingPid(this.directory) === null)
      return { ...UNKNOWN, spec, state: this.launching ? 'starting' : 'stopped' };
    const runState = this.#isCurrent()
      ? this.#runState
      : this.#overdue.size > 0
        ? null
        : await this.#promptly(this.#look());
    this.#endpoint ??= await readEndpoint(this.directory);
    return {
      spec,
      state: this.#endpoint === null ? 'starting' : 'running',
      // What it stands still for is over soon, and nothing to be mended.
      runState: this.saving && runState !== null ? 'running' : runState,
      endpoint: this.#endpoint,
      volumes: this.#volumes,
    };
  }

  /** What is known of it beside what runs. Takes at most about PROMPT_MS. */
  async vitals(): Promise<Vitals> {
    const open = this.#session?.open === true && this.#overdue.size === 0;
    const memory = open ? await this.#promptly(this.#readMemory().catch(() => null)) : null;
    return { exit: this.#exit, events: [...this.#events], memory };
  }

  async #readMemory(): Promise<Sample | null> {
    const session = this.#session;
    if (session === null) return null;
    // Each session anew: the interval stays with the device, but nobody knows what an earlier controller has set.
    if (this.#polled !== session) {
      this.#polled = session;
      await pollMemory(session, POLL_SECONDS);
    }
    return await guestMemory(session);
  }

  /** What is attached, where nothing has happened since the last change by this process; null: QEMU is to be asked. */
  get attachments(): Attachment[] | null {
    return this.#volumesReadAt >= this.#volumeChanges ? this.#attachments : null;
  }

  /** @param now what is attached after a change; left out: it is not known, and QEMU is to be asked */
  volumesChanged(now?: Attachment[]): void {
    this.#volumeChanges += 1;
    // What a guest was asked for earlier it may have let go of in the midst of this change.
    const isSo = now !== undefined && !now.some((each) => this.#deleted.has(deviceOf(each)));
    this.#deleted.clear();
    this.#attachments = isSo ? now : null;
    if (isSo) this.#setVolumes(now, this.#volumeChanges);
    this.#announce();
  }

  #setVolumes(volumes: AttachedVolume[], readAt: number): void {
    this.#volumesReadAt = readAt;
    this.#volumes = volumes.map(({ name, digest }) => ({ name, digest }));
  }

  /** Ends the session; the machine goes on. */
  disconnect(): void {
    const session = this.#session;
    this.#session = null;
    session?.close();
    this.#announce();
  }

  /** Ends the session for good, one that is being opened included. */
  release(): void {
    this.#released = true;
    this.disconnect();
  }

  async #open(deadlineMs: number, signal?: AbortSignal): Promise<QmpSession> {
    const options = { deadlineMs, ...(signal === undefined ? {} : { signal }) };
    const session = commanded(await connectMonitor(this.directory, options), this.expectCommand);
    try {
      await this.#expectItself(session);
      const port = await forwardedPort(session, this.spec.checks.port);
      this.#endpoint = port === null ? null : { host: '127.0.0.1', port };
      await writeAtomically(this.directory.endpoint, this.#endpoint, this.expectCommand);
      if (this.#released) throw new UnideployError('UD_QMP', 'the hypervisor was closed', 'start it again');
      // Whoever had it stand still has died meanwhile.
      if (!this.saving && existsSync(this.directory.saving)) await endStandstill(session, this.directory);
    } catch (error) {
      session.close();
      throw error;
    }
    this.#session = session;
    this.#volumeChanges += 1;
    this.#attachments = null;
    session.onEvent((event) => this.#take(event));
    session.onClose(() => this.#lost(session));
    this.#opened(this, session);
    this.#announce();
    return session;
  }

  /** A QEMU that was taken over could put another's monitor in the place of its own. Earlier versions gave it its id. */
  async #expectItself(session: QmpSession): Promise<void> {
    const name = await queryName(session);
    if (name === this.directory.path || name === this.spec.id) return;
    throw new UnideployError(
      'UD_QMP',
      `at the monitor of instance ${this.spec.id} another machine answers: ${name}`,
      'look at its run directory, and stop the instance',
    );
  }

  /** Whether nothing has happened since QEMU was last asked, and that is not long ago: a hung one tells of nothing. */
  #isCurrent(): boolean {
    return (
      this.#session?.open === true &&
      (this.changing || this.#volumesReadAt >= this.#volumeChanges) &&
      this.#askedAt > this.#toldAt &&
      performance.now() - this.#askedAt < STATE_COUNTS_FOR
    );
  }

  async #look(): Promise<string | null> {
    try {
      const session = await this.connect(2_000);
      const asked = performance.now();
      const stale = this.#volumesReadAt < this.#volumeChanges;
      const [runState] = await Promise.all([queryStatus(session), stale ? this.#readVolumes(session) : null]);
      this.#runState = runState;
      this.#askedAt = asked;
      return runState;
    } catch {
      return null;
    }
  }

  async #readVolumes(session: QmpSession): Promise<void> {
    const asked = this.#volumeChanges;
    const volumes = await attachedVolumes({ session, directory: this.directory });
    if (asked < this.#volumesReadAt) return;
    this.#setVolumes(volumes, asked);
  }

  async #promptly<T>(question: Promise<T>): Promise<T | null> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => {
        this.#overdue.add(question);
        question.finally(() => this.#overdue.delete(question));
        resolve(null);
      }, PROMPT_MS);
    });
    return Promise.race([question, late]).finally(() => clearTimeout(timer));
  }

  #take({ name, data }: QmpEvent): void {
    if (NOISE.has(name)) return;
    if (name === 'DEVICE_DELETED') {
      this.#volumeChanges += 1;
      if (this.changing) this.#deleted.add(String(data.device));
      else this.#attachments = null;
    } else this.#toldAt = performance.now();
    if (TELLING.has(name)) {
      const word = typeof data.reason === 'string' ? `${name} ${data.reason}` : name;
      this.#events = [...this.#events, word].slice(-KEPT_EVENTS);
    }
    this.#announce();
  }

  #lost(session: QmpSession): void {
    if (this.#session !== session) return;
    this.#session = null;
    this.#announce();
    // The monitor goes some milliseconds before the process does.
    void until(() => livingPid(this.directory) === null, 5_000).then(() => this.#announce());
  }

  /** Once for all that happens in one turn of the event loop: a guest can cause events by the thousand. */
  #announce(): void {
    if (this.#announced) return;
    this.#announced = true;
    setImmediate(() => {
      this.#announced = false;
      this.#changed(this.spec.id);
    });
  }
}
