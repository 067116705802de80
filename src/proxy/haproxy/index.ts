import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { UnideployError } from '../../errors.ts';
import type { DataPlane } from '../port.ts';
import { HaproxyPlane } from './plane.ts';
import { toolMissing } from './process.ts';

export interface HaproxyOptions {
  /** the files of the processes go into `haproxy/` below this directory, made if it is missing */
  state: string;
  program?: string;
}

/**
 * The data plane of HAProxy processes, one for each address. They outlive this one, and are adopted by the next. Only one
 * controller may drive those of a state folder at a time: its lock is what keeps a second one out.
 */
export function haproxyDataPlane({ state, program = 'haproxy' }: HaproxyOptions): DataPlane {
  const folder = join(state, 'haproxy');
  if (Buffer.byteLength(folder) > LONGEST)
    throw new UnideployError(
      'UD_STATE_PATH',
      `the path of the state directory is too long for HAProxy's sockets: ${state}`,
      `choose a state directory of at most ${LONGEST - '/haproxy'.length} bytes`,
    );
  const plane = new HaproxyPlane(folder, program);
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
