import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** In microseconds: short, so that a process that has used its share does not keep its clients waiting for long. */
const PERIOD = 10_000;

/**
 * Lets each of the processes have at most that share of a CPU, by a control group of its own (cgroups, v1 or v2);
 * rejects where none can be made.
 */
export async function limitEach(pids: number[], share: number): Promise<{ end(): Promise<void> }> {
  const groups = await Promise.all(pids.map((pid) => limit(pid, Math.round(share * PERIOD))));
  return {
    async end() {
      for (const [i, group] of groups.entries()) await remove(group, pids[i] ?? 0);
    },
  };
}

async function limit(pid: number, quota: number): Promise<string> {
  const old = existsSync('/sys/fs/cgroup/cpu');
  const group = join(old ? '/sys/fs/cgroup/cpu' : '/sys/fs/cgroup', `unideploy-bench-${randomUUID()}`);
  await mkdir(group);
  if (old) {
    await writeFile(join(group, 'cpu.cfs_period_us'), String(PERIOD));
    await writeFile(join(group, 'cpu.cfs_quota_us'), String(quota));
  } else await writeFile(join(group, 'cpu.max'), `${quota} ${PERIOD}`);
  await writeFile(join(group, 'cgroup.procs'), String(pid));
  return group;
}

/** The process goes back to where all begin: a group that has one cannot be removed. */
async function remove(group: string, pid: number): Promise<void> {
  await writeFile(join(group, '..', 'cgroup.procs'), String(pid));
  await rmdir(group);
}
