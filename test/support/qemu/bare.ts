import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectQmp, type QmpSession } from '../../../src/hypervisor/qemu/qmp/session.ts';
import { eventually } from './asking.ts';

/** A QEMU without a guest, whose only disk is a qcow2 image: `data-db`. */
export interface BareQemu {
  folder: string;
  pid: number;
  session: QmpSession;
  /** has QEMU itself write to the disk, as its device would: `write -P 7 0 64k`; or read another node, or that */
  io(command: string, node?: string): Promise<void>;
  /** opens an image of the folder under the name that its file has, without `.qcow2` */
  open(node: string): Promise<void>;
  qemuImg(...words: string[]): string;
  /** ends it at once */
  kill(): Promise<void>;
  /** ends it in order */
  quit(): Promise<void>;
  /** starts it again, on the same disk */
  start(): Promise<void>;
  end(): Promise<void>;
}

export async function bareQemu(size = '64M'): Promise<BareQemu> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-bare-'));
  const qemuImg = (...words: string[]) =>
    execFileSync('qemu-img', words, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  qemuImg('create', '-q', '-f', 'qcow2', 'data-db.qcow2', size);
  let said = '';
  const hear = (text: string) => {
    said += text;
  };
  let process = start(folder, hear);
  let session = await connectQmp(join(folder, 'qmp'), { deadlineMs: 20_000 });
  const kill = async () => {
    session.close();
    if (process.exitCode !== null || process.signalCode !== null) return;
    const ended = once(process, 'exit');
    process.kill('SIGKILL');
    await ended;
  };
  return {
    folder,
    get pid() {
      return process.pid ?? 0;
    },
    get session() {
      return session;
    },
    async io(command, node) {
      const line = `qemu-io ${node ?? '-d data-db'} "${command}"`;
      const before = said.length;
      await session.execute('human-monitor-command', { 'command-line': line });
      // It answers on its own output.
      const answer = () => /^.*(wrote \d|read \d|fail|rror|conflict).*$/m.exec(said.slice(before))?.[0];
      await eventually(`an answer to ${command}`, () => answer() !== undefined);
      if (!/^(wrote|read) /.test(answer() ?? '') || /fail/i.test(said.slice(before)))
        throw new Error(`${command}: ${said.slice(before)}`);
    },
    open: async (node) => {
      const file = { driver: 'file', filename: `${node}.qcow2` };
      await session.execute('blockdev-add', { driver: 'qcow2', 'node-name': node, file });
    },
    qemuImg,
    kill,
    async quit() {
      const ended = once(process, 'exit');
      await session.execute('quit');
      await ended;
    },
    async start() {
      process = start(folder, hear);
      session = await connectQmp(join(folder, 'qmp'), { deadlineMs: 20_000 });
    },
    async end() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function start(cwd: string, hear: (text: string) => void) {
  const node = { driver: 'qcow2', 'node-name': 'data-db', discard: 'unmap' };
  const file = { driver: 'file', filename: 'data-db.qcow2', locking: 'on' };
  const disk = { driver: 'scsi-hd', id: 'data-db', drive: 'data-db', bus: 'data.0', 'share-rw': true };
  // A file that may not become longer fails, and ends nobody.
  const ignoring = ['--ignore-signal=XFSZ', 'stdbuf', '-oL', 'qemu-system-x86_64'];
  const words = [
    ...ignoring,
    ...['-nodefaults', '-display', 'none', '-machine', 'q35,accel=tcg', '-m', '32M', '-S'],
    ...['-qmp', 'unix:qmp,server=on,wait=off', '-blockdev', JSON.stringify({ ...node, file })],
    ...['-device', 'virtio-scsi-pci,id=data', '-device', JSON.stringify(disk)],
  ];
  const qemu = spawn('env', words, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const out of [qemu.stdout, qemu.stderr]) out.setEncoding('utf8').on('data', hear);
  return qemu;
}
