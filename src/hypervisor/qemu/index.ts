import { existsSync } from 'node:fs';
import { copyFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { CONFINING, findUsers, type Users, userFor } from '../../confinement.ts';
import { type Fence, UNFENCED } from '../../domain/fence.ts';
import { type CodeVolume, type Digest, dataOf } from '../../domain/revision.ts';
import { refusedSnapshot } from '../../domain/snapshot.ts';
import { UnideployError } from '../../errors.ts';
import { SnapshotCatalogue } from '../../snapshots/catalogue.ts';
import type { Copying, Hypervisor, InstanceSpec, Stopped, VirtualMachine } from '../port.ts';
import { chooseAccelerator, probeAccelerators } from './accelerator/verdicts.ts';
import { type Attachment, readAttachments, reserve } from './attachments.ts';
import { commandOf } from './command.ts';
import { commandLine, macOf } from './command-line.ts';
import { followLines, keepConsole, keptLines, lastLines } from './console.ts';
import { DataDisks } from './data.ts';
import { DataCopies } from './data-copy.ts';
import { dumpMachine } from './dumps.ts';
import { attach, detach, type Plugboard, replace } from './hotplug.ts';
import { createOverlay, inspectImage } from './images.ts';
import { limitsOf } from './limits.ts';
import { Machine } from './machine.ts';
import { startProcess, stopProcess } from './process.ts';
import { stopGuest } from './qmp/commands.ts';
import { monitorError, QmpRefusal } from './qmp/errors.ts';
import { lend, takeBack } from './reach.ts';
import {
  clearTraces,
  createRunDirectory,
  isOfEarlierVersion,
  livingPid,
  type RunDirectory,
  readSpec,
  runDirectory,
  runIds,
} from './run-directory.ts';
import { goOn, inheritVolumes, placeDisk, restorable, saveMachine, waitingFor } from './snapshot.ts';
import { type Start, templatesOf } from './templates.ts';
import { needTools, qemuVersion, versionOf } from './tools.ts';

export { probeAccelerators } from './accelerator/verdicts.ts';
export { inspectRevision } from './inspection.ts';

export interface QemuOptions {
  /** state directory; the machines live in `<state>/run/<instance id>/` */
  state: string;
  /** path of an artifact of the store */
  artifactPath: (digest: Digest) => string;
  /** of the controller that the machines are to obey */
  fence?: Fence;
  /** program names or paths */
  qemu?: string;
  qemuImg?: string;
  /** whom guests run as; left out: as can be done here */
  users?: Users;
  /** milliseconds a guest has to let go of a volume */
  unplugMs?: number;
  /** milliseconds QEMU has until its monitor answers */
  launchMs?: number;
}

/** Machines as local QEMU processes that outlive this one; each is found again by its run directory. */
export function qemuHypervisor(options: QemuOptions): Hypervisor {
  const { state, fence = UNFENCED } = options;
  // QEMU runs in another folder.
  const artifactPath = (digest: Digest) => resolve(options.artifactPath(digest));
  const { qemu = 'qemu-system-x86_64', qemuImg = 'qemu-img', unplugMs = 10_000, launchMs = 30_000 } = options;
  const snapshots = new SnapshotCatalogue(join(resolve(state), 'snapshots'));
  const machines = new Map<string, Machine>();
  const listeners = new Set<(id: string) => void>();
  const changed = (id: string) => {
    for (const listener of [...listeners]) listener(id);
  };
  let verdicts: ReturnType<typeof probeAccelerators> | null = null;

  let found: Promise<Users> | null = options.users === undefined ? null : Promise.resolve(options.users);
  const users = () => {
    found ??= findUsers();
    return found;
  };
  const userOf = async ({ path }: RunDirectory) => userFor(await users(), path);

  /** Asked once by this process; a failure is not kept. */
  const accelerators = () => {
    verdicts ??= probeAccelerators({ state, qemu, ...(options.users && { users: options.users }) }).catch(
      (error: unknown) => {
        verdicts = null;
        throw error;
      },
    );
    return verdicts;
  };

  async function find(id: string): Promise<Machine | null> {
    const known = machines.get(id);
    if (known !== undefined) return known;
    const directory = runDirectory(state, id);
    const spec = await readSpec(directory);
    // It may have been removed while it was read, and must not be remembered then.
    return spec === null || !existsSync(directory.path) ? null : remember(spec, directory);
  }

  /** Another caller may have come first while a file was read: there is one Machine for each id. */
  function remember(spec: InstanceSpec, directory: RunDirectory): Machine {
    const machine =
      machines.get(spec.id) ??
      new Machine(spec, directory, commandOf(fence, directory), changed, (opened, session) => {
        if (dataOf(opened.spec).length > 0) void copies.sweep(opened, session).catch(() => {});
      });
    machines.set(spec.id, machine);
    return machine;
  }

  async function need(id: string): Promise<Machine> {
    return (await find(id)) ?? unknown(id);
  }

  async function boot(machine: Machine, start: Start = {}): Promise<void> {
    const { spec, directory, expectCommand } = machine;
    await needTools(qemu, ...CONFINING);
    const accel = await accelOf(spec);
    const user = await userOf(directory);
    const { from = null, ...facts } = start;
    const digests = [...bootedFrom(spec), ...spec.volumes.map(({ digest }) => digest)];
    expectCommand();
    for (const digest of digests) await lend(directory, digest, artifactPath(digest));
    await disks.lend(spec, directory, user);
    const { image } = spec;
    const disk = image.kind === 'disk' ? { program: qemuImg, folder: directory.path, user, ...image } : null;
    const size = disk && (await inspectImage(disk)).size;
    expectCommand();
    if (disk) await (from?.snapshot.disk ? placeDisk(machine, user, from) : createOverlay(disk));
    expectCommand();
    await clearTraces(directory);
    const volumes = from ? await inheritVolumes(machine, from) : await numbered(machine, facts.ledger);
    const words = [qemu, ...commandLine(spec, { directory, accel, volumes, ...facts })];
    const groups = [...(user?.groups ?? []), ...(facts.groups ?? [])];
    const bounds = { user: user && { ...user, groups }, limits: limitsOf(spec.machine, size, dataOf(spec)) };
    expectCommand();
    await machine.starting(startProcess(words, directory, bounds), launchMs);
  }

  const disks: DataDisks = new DataDisks({
    ...{ state, program: qemuImg, users, expectCommand: () => fence.check() },
    cutCopy: (place) => copies.cut(place),
    isLaunching: (id) => machines.get(id)?.launching === true,
    withMonitor: async (id, act) => {
      const machine = await need(id);
      return await machine.exclusively(async () => {
        try {
          return await act(await machine.connect());
        } catch (error) {
          throw error instanceof QmpRefusal ? monitorError(id, error) : error;
        }
      });
    },
  });
  const accelOf = ({ machine }: InstanceSpec) => chooseAccelerator(machine.accel, accelerators);
  const templates = templatesOf({ state, fence, qemu, accelOf, users, boot });

  /** Starts a machine as a copy, or from its snapshot, or has it boot. */
  async function start(
    machine: Machine,
    { key, wake = async () => {} }: Partial<Copying> = {},
  ): Promise<void> {
    if (key !== undefined) return await woken(machine, wake, () => templates.start(machine, key));
    const { spec, directory } = machine;
    const from = await restorable(spec, snapshots, {
      accel: () => accelOf(spec),
      version: async () => versionOf(await qemuVersion(qemu)),
    });
    if (from === null) return await boot(machine);
    if (from.snapshot.memory === null) return await boot(machine, { from });
    await woken(machine, wake, async () => {
      await boot(machine, { from, ...(await waitingFor(machine, await userOf(directory), from)) });
      await goOn(machine, from);
    });
  }

  /**
   * Starts what is another guest's twin until it is told who it is. What does not come to that is taken away: a twin must never
   * serve.
   */
  async function woken(machine: Machine, wake: Copying['wake'], begin: () => Promise<void>): Promise<void> {
    const { spec, directory, expectCommand } = machine;
    try {
      expectCommand();
      await writeFile(directory.unwoken, '');
      machine.unwoken = true;
      await begin();
      const { endpoint } = machine;
      if (endpoint === null) throw new UnideployError('UD_TEMPLATE', `${spec.id} has no address`, 'boot it');
      await wake({ endpoint, mac: macOf(spec.id) });
      expectCommand();
      await rm(directory.unwoken);
      machine.unwoken = false;
      machine.volumesChanged();
    } catch (error) {
      machine.disconnect();
      await templates.discard(directory);
      machine.unwoken = false;
      throw error instanceof QmpRefusal ? monitorError(spec.id, error) : error;
    }
  }

  const copies = new DataCopies({
    ...{ state, program: qemuImg, users, expectCommand: () => fence.check() },
    ...{ machine: need, disks },
  });

  /**
   * A controller that was killed in the midst of a launch may leave a run directory in which QEMU was never started. It
   * is no machine that has stopped: nothing ever ran there. Nor is a copy, or what waits for a saved memory, that was not
   * woken: nobody knows it from its twins.
   */
  async function removeNeverStarted(): Promise<void> {
    await templates.tidy();
    for (const id of await runIds(state)) {
      const directory = runDirectory(state, id);
      if (existsSync(directory.unwoken)) await templates.discard(directory);
      if (existsSync(directory.log) || livingPid(directory) !== null) continue;
      commandOf(fence, directory)();
      await rm(directory.path, { recursive: true, force: true });
    }
  }

  /** The directory of a guest that an earlier version has started, and that has ended, is no place for another. */
  async function forgetEarlier(id: string): Promise<void> {
    const directory = runDirectory(state, id);
    if (!isOfEarlierVersion(directory.path) || livingPid(directory) !== null) return;
    machines.get(id)?.release();
    machines.delete(id);
    await rm(directory.path, { recursive: true, force: true });
  }

  let tidied: Promise<void> | undefined;
  /** Once, before anything is launched here. */
  const tidy = () => {
    tidied ??= removeNeverStarted().then(() => copies.tidy());
    return tidied;
  };

  /** One change at a time for each machine; other machines go on. */
  async function change(id: string, act: (board: Plugboard) => Promise<Attachment[]>): Promise<void> {
    const machine = await need(id);
    await machine.exclusively(async () => {
      const session = await machine.connect();
      const { spec, directory, expectCommand, attachments: known } = machine;
      let now: Attachment[] | undefined;
      machine.changing = true;
      try {
        now = await act({
          ...{ id, machine: spec.machine, directory, session, known, expectCommand, unplugMs },
          lend: (digest) => lend(directory, digest, artifactPath(digest)),
          takeBack: (but) => takeBack(directory, new Set([...bootedFrom(spec), ...but])),
        });
      } catch (error) {
        throw error instanceof QmpRefusal ? monitorError(id, error) : error;
      } finally {
        machine.changing = false;
        machine.volumesChanged(now);
      }
    });
  }

  return {
    async launch(spec, copying) {
      await tidy();
      await forgetEarlier(spec.id);
      const directory = runDirectory(state, spec.id);
      const machine = remember(spec, directory);
      await machine.exclusively(async () => {
        machine.expectCommand();
        if (livingPid(directory) !== null) {
          await machine.connect(launchMs);
          return;
        }
        machine.spec = spec;
        machine.launching = true;
        try {
          await createRunDirectory(directory, spec, await userOf(directory));
          await start(machine, copying);
        } finally {
          machine.launching = false;
        }
      });
    },

    async templateFor(spec) {
      await tidy();
      const key = await templates.keyOf(spec);
      return { key, isMade: await templates.isMade(key) };
    },

    async makeTemplate(spec, prove) {
      await tidy();
      await templates.make(await templates.keyOf(spec), spec, prove);
    },

    templates: () => templates.list(),

    removeTemplate: (key) => templates.remove(key),

    async list() {
      await tidy();
      const ids = await runIds(state);
      const seen = await Promise.all(ids.map(async (id) => (await find(id))?.observe() ?? null));
      return seen.filter((machine): machine is VirtualMachine => machine !== null);
    },

    async find(id) {
      await tidy();
      return (await find(id))?.observe() ?? null;
    },

    attachVolume: (id, volume) => change(id, (board) => attach(board, volume)),

    detachVolume: (id, volume) => change(id, (board) => detach(board, volume)),

    replaceVolume: (id, from, to: CodeVolume) => change(id, (board) => replace(board, from, to)),

    async stop(id, graceMs) {
      const machine = await find(id);
      if (machine === null) return 'gone';
      return await machine.exclusively(async () => {
        const { directory, expectCommand } = machine;
        let how: Stopped = 'gone';
        if (livingPid(directory) !== null) {
          expectCommand();
          const session = await machine.connect(2_000).catch(() => null);
          how = await stopProcess(directory, session, { graceMs, expectCommand });
          machine.disconnect();
        }
        await disks.giveBack(directory);
        return how;
      });
    },

    async freeze(id) {
      const machine = await need(id);
      await machine.exclusively(async () => {
        // Written first: a controller that dies between the two leaves no half of a pool member.
        machine.expectCommand();
        await writeFile(machine.directory.frozen, '');
        machine.frozen = true;
        const session = await machine.connect(2_000).catch(() => null);
        if (session) await stopGuest(session, 2_000).catch(() => {});
        machine.volumesChanged();
      });
    },

    async dump(id, limit) {
      const machine = await find(id);
      return (await machine?.exclusively(() => dumpMachine(machine, state, limit))) ?? null;
    },

    async save(id, order) {
      const machine = await need(id);
      return await machine.exclusively(async () => {
        machine.expectCommand();
        if (livingPid(machine.directory) === null || machine.frozen)
          throw refusedSnapshot(`${id} does not run`, 'take one of an instance that is well');
        try {
          return await saveMachine(machine, await userOf(machine.directory), order);
        } catch (error) {
          throw error instanceof QmpRefusal ? monitorError(id, error) : error;
        }
      });
    },

    vitals: async (id) => (await find(id))?.vitals() ?? { exit: null, events: [], memory: null },

    async remove(id) {
      const directory = runDirectory(state, id);
      const machine = await find(id);
      const forget = async () => {
        if (livingPid(directory) !== null)
          throw new UnideployError('UD_LOCKED', `instance ${id} still runs`, 'stop it first');
        const expectCommand = commandOf(fence, directory);
        expectCommand();
        machine?.disconnect();
        await disks.giveBack(directory);
        await keepConsole(directory);
        expectCommand();
        await rm(directory.path, { recursive: true, force: true });
        machines.delete(id);
      };
      await (machine === null ? forget() : machine.exclusively(forget));
    },

    dataVolumes: () => disks.list(),
    snapshotData: (service, volume, snapshot, keep) => disks.snapshot(service, volume, snapshot, keep),
    forgetData: (service, volume, snapshot) => disks.forget(service, volume, snapshot),
    revertData: (service, volume, snapshot, aside) => disks.revert(service, volume, snapshot, aside),
    growData: (service, volume, size) => disks.grow(service, volume, size),
    async copyData(service, volume, order) {
      await tidy();
      return await copies.copy(service, volume, order);
    },
    restoreData: (service, volume, file) => copies.restore(service, volume, file),
    removeData: (service, volume) => disks.remove(service, volume),

    async console(id, lines) {
      const directory = runDirectory(state, id);
      if ((await find(id)) !== null) return (await lastLines(directory.console, lines)) ?? [];
      return (await keptLines(directory, lines)) ?? unknown(id);
    },

    async *followConsole(id, lines, signal) {
      const directory = runDirectory(state, id);
      if ((await find(id)) !== null) yield* followLines(directory, lines, signal);
      else yield* (await keptLines(directory, lines)) ?? unknown(id);
    },

    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    async close() {
      listeners.clear();
      for (const machine of machines.values()) machine.release();
      machines.clear();
    },
  };
}

/** The numbers of the volumes that the machine has from its beginning, in its run directory before anybody uses them. */
async function numbered(machine: Machine, ledger: string | undefined): Promise<Attachment[]> {
  const { spec, directory, expectCommand } = machine;
  if (ledger !== undefined) {
    expectCommand();
    await copyFile(ledger, directory.attachments);
    return await readAttachments(directory);
  }
  const volumes: Attachment[] = [];
  for (const volume of spec.volumes) volumes.push(await reserve(directory, volume, volumes, expectCommand));
  return volumes;
}

function bootedFrom({ image }: InstanceSpec): Digest[] {
  if (image.kind === 'disk') return [image.disk];
  return image.initrd === null ? [image.kernel] : [image.kernel, image.initrd];
}

function unknown(id: string): never {
  throw new UnideployError(
    'UD_UNKNOWN_INSTANCE',
    `there is no instance ${id} on this host`,
    'list the instances with: unideploy status',
  );
}
