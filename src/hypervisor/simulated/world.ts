import type { Clock } from '../../domain/clock.ts';
import { type Answers, proven } from '../../domain/health.ts';
import type { Sample } from '../../domain/memory.ts';
import { type CodeVolume, canonical, imageId, type RevisionSpec } from '../../domain/revision.ts';
import { type ErrorCode, UnideployError } from '../../errors.ts';
import type { Prober } from '../../probe/port.ts';
import type { AttachedVolume, Copying, Hypervisor, InstanceSpec, Template, VirtualMachine } from '../port.ts';
import { SimulatedDisks } from './disks.ts';

/** What may befall a guest, named after what was seen to happen to real ones. */
export type Incident =
  | 'launch-rejected'
  | 'never-healthy'
  | 'dies-before-health'
  | 'dies-after-health'
  | 'hangs-after-health'
  | 'flaps'
  | 'volume-ignored'
  | 'unplug-unacknowledged'
  | 'monitor-lost'
  /** what its template has saved does not load, where it is a copy */
  | 'copy-rejected'
  /** it does not hear who it is, where it is a copy */
  | 'copy-asleep';

/** What a guest may come down with while it serves. */
export type Sickness = 'dies' | 'panics' | 'hangs' | 'errs' | 'leaks' | 'stops' | 'heals';

/** What things cost, in ms. */
export interface Costs {
  spawn: number;
  boot: number;
  /** from the spawn of a copy, or of one that goes on from its snapshot, until it answers */
  copy: number;
  attach: number;
  detach: number;
  save: number;
  stop: number;
}

const COSTS: Costs = { spawn: 50, boot: 3000, copy: 100, attach: 60, detach: 50, save: 200, stop: 100 };
/** How long after its first health a guest dies or hangs that does. */
const LATER = 700;
/** Bytes a millisecond that a leaking guest loses. */
const LEAK = 2_000;
/** How long a monitor is waited for that does not answer, as with a real one. */
const MONITOR = { command: 10_000, stop: 2_000 };

interface Guest {
  spec: InstanceSpec;
  /** stands for its address */
  port: number;
  bootedAt: number;
  alive: boolean;
  /** until then its process stands still: it answers nobody */
  stoppedUntil: number;
  volumes: AttachedVolume[];
  incident: Incident | null;
  sickness: Exclude<Sickness, 'heals'> | null;
  sickSince: number;
  frozen: boolean;
  /** how often it was asked since it has booted */
  asked: number;
  /** a copy that was not woken yet, or the guest that a template is made of: nobody is shown it */
  hidden: boolean;
  /** it has answered well, or heard who it is */
  spoken: boolean;
}

/** A pool of guests that exists only as a model: for `plan`, for property tests, and for studies at scale. */
export class SimulatedWorld {
  readonly #clock: Clock;
  readonly #costs: Costs;
  readonly #guests = new Map<string, Guest>();
  /** what `.unideploy/revision` says in each volume that was ever seen, by digest */
  readonly #contents = new Map<string, string | null>();
  readonly #known = new Map<string, CodeVolume>();
  readonly #disks = new SimulatedDisks();
  readonly #listeners = new Set<(id: string) => void>();
  readonly #templates = new Map<string, Template>();
  #added = 0;
  readonly #incidentFor: (id: string, spec: InstanceSpec) => Incident | null;

  constructor(
    clock: Clock,
    incidentFor: (id: string, spec: InstanceSpec) => Incident | null = () => null,
    costs: Partial<Costs> = {},
  ) {
    this.#clock = clock;
    this.#incidentFor = incidentFor;
    this.#costs = { ...COSTS, ...costs };
  }

  /** Puts a template there. */
  keep(template: Template): void {
    this.#templates.set(template.key, template);
  }

  /** Puts a running guest there, as it was found in the real world; `incident` may befall it from now on. */
  adopt({ spec, volumes, state }: VirtualMachine, incident: Incident | null = null): void {
    this.#add(spec, [...volumes], this.#clock.now(), state !== 'stopped', incident);
  }

  /** Tells what volumes carry that are attached to adopted guests, but not in their specs. */
  know(volumes: CodeVolume[]): void {
    for (const volume of volumes) {
      this.#contents.set(volume.digest, volume.revision);
      this.#known.set(volume.digest, volume);
    }
  }

  /** All machines, as the hypervisor would list them. */
  machines(): VirtualMachine[] {
    const shown = [...this.#guests.values()].filter(({ hidden }) => !hidden);
    return shown.map((guest) => this.#shown(guest));
  }

  #shown(guest: Guest): VirtualMachine {
    return {
      spec: guest.spec,
      state: guest.frozen ? 'frozen' : guest.alive ? 'running' : 'stopped',
      runState: guest.alive && !guest.frozen && !this.#stands(guest) ? runStateOf(guest) : null,
      endpoint: guest.alive ? { host: 'simulated', port: guest.port } : null,
      volumes: [...guest.volumes],
    };
  }

  /** The process of a guest ends in this moment, and takes along what it had. */
  kill(id: string): void {
    const guest = this.#guests.get(id);
    if (!guest?.alive) return;
    guest.alive = false;
    this.#happened(id);
  }

  /** The process of a guest stands still for so many ms, and nobody is told. */
  halt(id: string, ms: number): void {
    const guest = this.#guests.get(id);
    if (guest) guest.stoppedUntil = this.#clock.now() + ms;
  }

  /** Whether a request would be answered well by the guest at this moment, and which volumes answer it. */
  serving(id: string): { ok: boolean; digests: string[] } {
    const guest = this.#guests.get(id);
    if (!guest) return { ok: false, digests: [] };
    const digests = mounted(guest).map(({ digest }) => digest);
    return { ok: this.#isHealthy(guest), digests };
  }

  /** Has a guest come down with something, or get well again. */
  befall(id: string, sickness: Sickness): void {
    const guest = this.#guests.get(id);
    if (!guest) return;
    guest.sickness = sickness === 'heals' ? null : sickness;
    guest.sickSince = this.#clock.now();
    if (sickness === 'dies') guest.alive = false;
    this.#happened(id);
  }

  readonly prober: Prober = {
    ask: async ({ port }, { probePaths, timeout }) => {
      const guest = [...this.#guests.values()].find((candidate) => candidate.port === port);
      if (guest?.alive && guest.sickness === 'errs') {
        await this.#clock.sleep(2);
        return { healthy: false, summary: '503 unhealthy', bodies: {} };
      }
      if (!guest || !this.#isHealthy(guest) || (guest.incident === 'flaps' && guest.asked++ % 2 === 1)) {
        await this.#clock.sleep(timeout);
        return { healthy: false, summary: `no answer within ${timeout} ms`, bodies: {} };
      }
      await this.#clock.sleep(2);
      guest.spoken = true;
      return { healthy: true, summary: '200 ok', bodies: this.#answers(guest, probePaths) };
    },
    prove: async (endpoint, proofs, { healthPath, timeout }) => {
      const probePaths = proofs.map(({ path }) => path);
      const answers = await this.prober.ask(endpoint, { healthPath, probePaths, timeout });
      return answers.healthy && !proven(proofs, answers.bodies) ? null : answers;
    },
    wake: async ({ port }, { timeout }) => {
      const guest = [...this.#guests.values()].find((candidate) => candidate.port === port);
      const hears = guest !== undefined && this.#isHealthy(guest) && guest.incident !== 'copy-asleep';
      if (hears) guest.spoken = true;
      await this.#clock.sleep(hears ? 2 : timeout);
      return { heard: hears, summary: hears ? '200 ok' : `no answer within ${timeout} ms` };
    },
  };

  readonly hypervisor: Hypervisor = {
    launch: async (spec, copying) => {
      if (this.#guests.get(spec.id)?.alive) return;
      this.#disks.attach(spec, (id) => this.#guests.get(id)?.alive === true);
      await this.#clock.sleep(this.#costs.spawn);
      const incident = this.#incidentFor(spec.id, spec);
      if (copying) return await this.#copy(spec, copying, incident);
      if (incident === 'launch-rejected') throw failure('UD_GUEST_START', `${spec.id} did not start`);
      // Its controller may have been killed meanwhile, and followed by another one.
      this.#disks.expectToHold(spec);
      const bootedAt = this.#clock.now() + this.#costs.boot;
      const guest = this.#add(spec, [...spec.volumes], bootedAt, true, incident);
      this.#happened(spec.id);
      if (incident === 'dies-before-health') void this.#dieAfter(guest, this.#costs.boot / 2);
      this.#befallLater(guest);
    },
    templateFor: async (spec) => {
      const key = templateKey(spec);
      return { key, isMade: this.#templates.has(key) };
    },
    makeTemplate: async (spec, prove) => {
      await this.#clock.sleep(this.#costs.spawn);
      const key = templateKey(spec);
      const parent = { ...spec, id: `template-${key}` };
      const guest = this.#add(parent, [...spec.volumes], this.#clock.now() + this.#costs.boot, true, null);
      guest.hidden = true;
      try {
        await prove(this.#shown(guest));
      } finally {
        this.#guests.delete(parent.id);
      }
      // Of a controller that has died meanwhile nothing is proven, and nothing kept.
      if (!guest.spoken) throw failure('UD_TEMPLATE', 'its guest was not proven');
      this.keep({
        key,
        service: spec.service,
        revision: spec.revision,
        bytes: spec.machine.memory * 2 ** 20,
      });
    },
    templates: async () => [...this.#templates.values()],
    removeTemplate: async (key) => {
      this.#templates.delete(key);
    },
    list: async () => this.machines(),
    find: async (id) => this.machines().find(({ spec }) => spec.id === id) ?? null,
    attachVolume: async (id, volume) => {
      const guest = this.#running(id);
      if (has(guest, volume)) return;
      await this.#command(guest, this.#costs.attach);
      if (guest.incident === 'monitor-lost') throw failure('UD_QMP', `the monitor of ${id} went away`);
      this.know([volume]);
      if (!has(guest, volume)) guest.volumes.push({ name: volume.name, digest: volume.digest });
      this.#happened(id);
    },
    detachVolume: async (id, volume) => {
      const guest = this.#running(id);
      if (!has(guest, volume)) return;
      await this.#command(guest, this.#costs.detach);
      if (guest.incident === 'unplug-unacknowledged')
        throw failure('UD_VOLUME_UNPLUG', `${id} keeps ${volume.name}`);
      guest.volumes = guest.volumes.filter((other) => !isSame(other, volume));
      this.#happened(id);
    },
    replaceVolume: async (id, from, to) => {
      await this.hypervisor.detachVolume(id, from);
      await this.hypervisor.attachVolume(id, to);
    },
    stop: async (id) => {
      const guest = this.#guests.get(id);
      if (!guest?.alive) return 'gone';
      // A monitor that does not answer is given up, and the process is ended by signals.
      await this.#clock.sleep(this.#stands(guest) ? 2 * MONITOR.stop : this.#costs.stop);
      guest.alive = false;
      this.#happened(id);
      return this.#stands(guest) ? 'forced' : 'by itself';
    },
    freeze: async (id) => {
      const guest = this.#guests.get(id);
      if (!guest) throw failure('UD_UNKNOWN_INSTANCE', `there is no ${id}`);
      guest.frozen = true;
      this.#happened(id);
    },
    dump: async (id, limit) => {
      const guest = this.#guests.get(id);
      return guest?.alive && guest.spec.machine.memory <= limit ? `simulated/${id}.elf` : null;
    },
    save: async (id, { memory, report }) => {
      const guest = this.#running(id);
      const { image, machine, checks } = guest.spec;
      const began = this.#clock.now();
      const total = machine.memory * 2 ** 20;
      report({ done: 0, total });
      await this.#command(guest, memory ? this.#costs.save : this.#costs.attach);
      report({ done: total, total });
      const volumes = guest.volumes.flatMap(({ digest }) => this.#known.get(digest) ?? []);
      return {
        spec: { image, machine, checks, volumes },
        attachments: volumes.map(({ name, digest }, index) => ({ number: index + 1, name, digest })),
        nextAttachment: volumes.length + 1,
        ...{ qemu: 'simulated', accel: 'tcg', ram: 'own' },
        pausedMs: this.#clock.now() - began,
      };
    },
    vitals: async (id) => {
      const guest = this.#guests.get(id);
      const killed = guest?.sickness === 'dies' && !guest.alive;
      const events = guest?.sickness === 'panics' ? ['GUEST_PANICKED'] : [];
      return {
        exit: killed ? { code: null, signal: 'SIGKILL' } : null,
        events,
        memory: guest?.alive ? this.#memoryOf(guest) : null,
      };
    },
    remove: async (id) => {
      this.#guests.delete(id);
      this.#happened(id);
    },
    dataVolumes: async () => this.#disks.all((id) => this.#guests.get(id)?.alive === true),
    snapshotData: async (service, volume, snapshot, keep) =>
      this.#disks.snapshot({ service, volume }, snapshot, keep, this.#clock.now()),
    forgetData: async (service, volume, snapshot) => this.#disks.forget({ service, volume }, snapshot),
    revertData: async (service, volume, snapshot, aside) =>
      this.#disks.revert({ service, volume }, snapshot, aside, this.#clock.now()),
    growData: async (service, volume, size) => this.#disks.grow({ service, volume }, size),
    copyData: async (service, volume) => this.#disks.copied({ service, volume }),
    restoreData: async () => {},
    removeData: async (service, volume) => this.#disks.remove({ service, volume }),
    console: async () => [],
    async *followConsole() {},
    onChange: (listener) => {
      this.#listeners.add(listener);
      return () => this.#listeners.delete(listener);
    },
    close: async () => {},
  };

  async #copy(spec: InstanceSpec, { key, wake }: Copying, incident: Incident | null): Promise<void> {
    const what = key === undefined ? `snapshot ${spec.snapshot}` : `template ${key}`;
    if (incident === 'copy-rejected' || (key !== undefined && !this.#templates.has(key)))
      throw failure('UD_TEMPLATE', `${what} does not load`);
    const guest = this.#add(spec, [...spec.volumes], this.#clock.now() + this.#costs.copy, true, incident);
    guest.hidden = true;
    try {
      await wake({ endpoint: { host: 'simulated', port: guest.port }, mac: `simulated ${spec.id}` });
      if (!guest.spoken && spec.machine.wake !== undefined && spec.machine.wake !== 'none')
        throw failure('UD_TEMPLATE', `${spec.id} was not woken`);
    } catch (error) {
      this.#guests.delete(spec.id);
      throw error;
    }
    guest.hidden = false;
    this.#happened(spec.id);
    this.#befallLater(guest);
  }

  #befallLater(guest: Guest): void {
    const { incident, bootedAt } = guest;
    if (incident === 'dies-after-health') void this.#dieAfter(guest, bootedAt + LATER - this.#clock.now());
  }

  /** A command of the monitor: answered late by a process that stands still, and never by one that has gone. */
  async #command(guest: Guest, ms: number): Promise<void> {
    const { id } = guest.spec;
    const late = this.#clock.now() + MONITOR.command;
    while (this.#stands(guest)) {
      await this.#clock.sleep(Math.min(guest.stoppedUntil, late) - this.#clock.now());
      if (this.#stands(guest) && this.#clock.now() >= late)
        throw failure('UD_QMP', `the monitor of ${id} does not answer`);
    }
    await this.#clock.sleep(ms);
    if (!guest.alive) throw failure('UD_QMP', `the monitor of ${id} went away`);
  }

  #stands({ stoppedUntil }: Guest): boolean {
    return this.#clock.now() < stoppedUntil;
  }

  #isHealthy(guest: Guest): boolean {
    const now = this.#clock.now();
    if (!guest.alive || this.#stands(guest) || now < guest.bootedAt) return false;
    if (guest.incident === 'never-healthy') return false;
    if (guest.frozen || (guest.sickness !== null && guest.sickness !== 'leaks')) return false;
    if (guest.sickness === 'leaks' && this.#memoryOf(guest).available === 0) return false;
    if (guest.incident === 'hangs-after-health' && now >= guest.bootedAt + LATER) return false;
    return guest.spec.volumes.length === 0 || mounted(guest).length > 0;
  }

  /** Half of it is left to a guest that is well. */
  #memoryOf({ spec, sickness, sickSince }: Guest): Sample {
    const total = spec.machine.memory * 2 ** 20;
    const at = Math.floor(this.#clock.now() / 1000) * 1000;
    const lost = sickness === 'leaks' ? Math.max(0, at - sickSince) * LEAK : 0;
    return { available: Math.max(0, total / 2 - lost), total, at };
  }

  #add(
    spec: InstanceSpec,
    volumes: AttachedVolume[],
    bootedAt: number,
    alive: boolean,
    incident: Incident | null,
  ): Guest {
    this.know(spec.volumes);
    if (alive) this.#disks.adopt(spec);
    const well = {
      sickness: null,
      sickSince: 0,
      frozen: false,
      stoppedUntil: 0,
      asked: 0,
      hidden: false,
      spoken: false,
    };
    const guest: Guest = { spec, port: ++this.#added, volumes, bootedAt, alive, incident, ...well };
    this.#guests.set(spec.id, guest);
    return guest;
  }

  #answers(guest: Guest, paths: string[]): Answers['bodies'] {
    const { image, volumes } = guest.spec;
    if (volumes.length === 0) return Object.fromEntries(paths.map((path) => [path, imageId(image)]));
    const bodies = volumes.map(({ name, probe }) => {
      const digest = mounted(guest).find((candidate) => candidate.name === name)?.digest;
      return [probe, digest && this.#contents.get(digest)];
    });
    return Object.fromEntries(bodies.filter(([path, body]) => path && paths.includes(path) && body));
  }

  async #dieAfter(guest: Guest, ms: number): Promise<void> {
    await this.#clock.sleep(ms);
    guest.alive = false;
    this.#happened(guest.spec.id);
  }

  #running(id: string): Guest {
    const guest = this.#guests.get(id);
    if (guest?.alive) return guest;
    throw failure('UD_GUEST_START', `${id} does not run`);
  }

  #happened(id: string): void {
    for (const listener of this.#listeners) listener(id);
  }
}

/** What machines have in common that may be copies of one template. */
export function templateKey({ image, machine, volumes, checks }: RevisionSpec): string {
  return canonical({ image, machine, volumes, checks });
}

function runStateOf({ sickness }: Guest): string {
  if (sickness === 'panics') return 'guest-panicked';
  return sickness === 'stops' ? 'paused' : 'running';
}

/** What the guest serves: the newest volume of each name, or, when it can hold only one, the oldest. */
function mounted({ spec, volumes, incident }: Guest): AttachedVolume[] {
  const seen = incident === 'volume-ignored' ? volumes.filter((volume) => has(spec, volume)) : volumes;
  const ordered = spec.machine.swap === 'overlap' ? [...seen].reverse() : seen;
  return ordered.filter((volume, at) => ordered.findIndex(({ name }) => name === volume.name) === at);
}

function has({ volumes }: { volumes: AttachedVolume[] }, volume: AttachedVolume): boolean {
  return volumes.some((other) => isSame(other, volume));
}

function isSame(a: AttachedVolume, b: AttachedVolume): boolean {
  return a.name === b.name && a.digest === b.digest;
}

function failure(code: ErrorCode, message: string): UnideployError {
  return new UnideployError(code, message, 'this was simulated');
}
