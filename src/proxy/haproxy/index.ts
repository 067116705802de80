import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Fence, UNFENCED } from '../../domain/fence.ts';
import { UnideployError } from '../../errors.ts';
import { ownFolder } from '../../marks.ts';
import type { DataPlane } from '../port.ts';
import { HaproxyPlane } from './plane.ts';
import { toolMissing } from './process.ts';

export interface HaproxyOptions {
  /** the files of the processes go into `haproxy/` below this directory, made if it is missing */
  state: string;
  program?: string;
  /** of the controller that drives them */
  fence?: Fence;
}

/**
 * The data plane of HAProxy processes, one for each address. They outlive this one, and are adopted by the next. Only one
 * controller may drive those of a state folder at a time: HAProxy knows no tokens, so the fence's is a mark in the folder
 * (`ownFolder`), looked at right before every command and every write.
 */
export function haproxyDataPlane(options: HaproxyOptions): DataPlane {
  const { state, program = 'haproxy', fence = UNFENCED } = options;
  const folder = join(state, 'haproxy');
  if (Buffer.byteLength(folder) > LONGEST)
    throw new UnideployError(
      'UD_STATE_PATH',
      `the path of the state directory is too long for HAProxy's sockets: ${state}`,
      `choose a state directory of at most ${LONGEST - '/haproxy'.length} bytes`,
    );
  const plane = new HaproxyPlane(folder, program, () => {
    fence.check();
    ownFolder(folder, fence);
  });
  return {
    async ensure() {
      const env = { PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` };
      const { code } = await execa(program, ['-v'], { reject: false, timeout: 10_000, env });
      if (code === 'ENOENT') throw toolMissing(program);
      await mkdir(folder, { recursive: true, mode: 0o700 });
    },
    apply: (table) => plane.apply(table),
    remove: (service, graceMs) => plane.remove(service, graceMs),
    status: () => plane.status(),
    drained: (service, instance, deadlineMs) => plane.drained(service, instance, deadlineMs),
    figures: (service) => plane.figures(service),
    metrics: () => plane.metrics(),
    upgrade: () => plane.upgrade(),
    stop: () => plane.stop(),
  };
}

/** 107 bytes fit a unix socket's address; HAProxy appends up to 12 to `/<id>.sock`, of 21. */
const LONGEST = 74;
