import type { Machine } from '../domain/revision.ts';

interface Profile {
  /** MiB */
  memory: number;
  /** kernel command line that the user's is put after */
  cmdline: string;
  /** null: the user must say */
  volumes: Machine['volumes'] | null;
  swap: Machine['swap'] | null;
}

/** What each kind of guest is known to need; docs/guests.md has the measurements. */
export const PROFILES: Record<Machine['profile'], Profile> = {
  linux: {
    memory: 128,
    // A console to read, an end to QEMU on a panic, and no waiting that a virtual machine does not need at boot.
    cmdline:
      'console=ttyS0 quiet loglevel=3 panic=-1 tsc=reliable no_timer_check cryptomgr.notests ' +
      'rcupdate.rcu_expedited=1 8250.nr_uarts=1 apparmor=0 audit=0 rootfstype=ramfs',
    volumes: 'virtio-scsi',
    swap: 'overlap',
  },
  nanos: { memory: 256, cmdline: '', volumes: 'virtio-scsi', swap: 'replace' },
  custom: { memory: 128, cmdline: '', volumes: null, swap: null },
};
