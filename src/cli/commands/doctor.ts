import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { execa } from 'execa';
import colors from 'picocolors';
import { isSilent } from '../../daemon/silent.ts';
import { report, UnideployError } from '../../errors.ts';
import { type Context, withClient } from '../context.ts';
import { run } from '../run.ts';

interface Finding {
  what: string;
  ok: boolean;
  /** without it nothing can be deployed */
  needed: boolean;
  detail: string;
  /** what to do about it; empty where nothing is to be done */
  next: string;
}

/** Programs by what they are for; the Debian package is what the next step names. */
const TOOLS = [
  {
    program: 'qemu-system-x86_64',
    args: ['--version'],
    packageName: 'qemu-system-x86',
    purpose: 'guests',
    needed: true,
  },
  {
    program: 'qemu-img',
    args: ['--version'],
    packageName: 'qemu-utils',
    purpose: 'root disks',
    needed: false,
  },
  {
    program: 'mksquashfs',
    args: ['-version'],
    packageName: 'squashfs-tools',
    purpose: 'squashfs volumes',
    needed: true,
  },
  {
    program: 'setpriv',
    args: ['--version'],
    packageName: 'util-linux',
    purpose: 'guests without privileges',
    needed: true,
  },
  {
    program: 'prlimit',
    args: ['--version'],
    packageName: 'util-linux',
    purpose: 'limits of guests',
    needed: true,
  },
  { program: 'debugfs', args: ['-V'], packageName: 'e2fsprogs', purpose: 'ext4 volumes', needed: false },
  {
    program: 'xorriso',
    args: ['-version'],
    packageName: 'xorriso',
    purpose: 'iso9660 volumes',
    needed: false,
  },
  { program: 'mcopy', args: ['--version'], packageName: 'mtools', purpose: 'fat volumes', needed: false },
  {
    program: 'haproxy',
    args: ['-v'],
    packageName: 'haproxy',
    purpose: 'the data plane by --proxy haproxy',
    needed: false,
  },
];

export function doctorCommand(program: Command): void {
  const command = program
    .command('doctor')
    .description(
      'check what is installed, which accelerator really works, whether the controller answers, and what is left over',
    );
  run(command, async (context) => {
    const findings = [
      ...(await Promise.all(TOOLS.map(findTool))),
      ...(await accelerators(context)),
      await guestUsers(),
      ...(await stateFindings(context)),
    ];
    if (context.json) process.stdout.write(`${JSON.stringify(findings)}\n`);
    else for (const finding of findings) process.stdout.write(`${describe(finding)}\n`);
    return findings.every(({ ok, needed }) => ok || !needed) ? 0 : 4;
  });
}

async function findTool({
  program,
  args,
  packageName,
  purpose,
  needed,
}: (typeof TOOLS)[number]): Promise<Finding> {
  const { stdout, stderr, failed, code } = await execa(program, args, { reject: false, timeout: 10_000 });
  const version = `${stdout}\n${stderr}`.trim().split('\n')[0] ?? '';
  const ok = !failed || code === undefined;
  const next = ok ? '' : `apt-get install ${packageName}`;
  return { what: `${program} (${purpose})`, ok, needed, detail: ok ? version : 'not found', next };
}

async function accelerators({ paths }: Context): Promise<Finding[]> {
  try {
    const { probeAccelerators } = await import('../../hypervisor/qemu/index.ts');
    const verdicts = await probeAccelerators({ state: paths.root });
    return verdicts.map(({ accel, works, reason }) => {
      const next =
        works || accel === 'tcg' ? '' : 'nothing: accel auto uses tcg; for speed, run where KVM works';
      return { what: `accelerator ${accel}`, ok: works, needed: accel === 'tcg', detail: reason, next };
    });
  } catch (error) {
    const { message, next } = report(error);
    return [{ what: 'accelerators', ok: false, needed: true, detail: message, next }];
  }
}

async function guestUsers(): Promise<Finding> {
  const what = 'users of guests';
  const { findUsers } = await import('../../confinement.ts');
  const users = await findUsers().catch((error: unknown) => ({ why: report(error).message }));
  if (!('why' in users)) {
    const detail = `one of its own for each, uids ${users.first} to ${users.first + users.count - 1}`;
    return { what, ok: true, needed: false, detail, next: '' };
  }
  const detail = `guests run as ${userInfo().username}: ${users.why}`;
  const next = 'nothing, or run the controller as root: docs/security.md';
  return { what, ok: false, needed: false, detail, next };
}

/** The controller, and what it says; or, where none answers, what is found in the state folder. */
async function stateFindings(context: Context): Promise<Finding[]> {
  const what = 'controller';
  if (isSilent(context.paths)) {
    const detail = 'it lives, and has been silent for too long: another one may take over';
    return [{ what, ok: false, needed: false, detail, next: 'unideploy serve' }];
  }
  try {
    return await withClient(context, async (client) => {
      const { pid, version, troubles = [] } = await client.ping();
      const detail = `answers, version ${version}, process ${pid}`;
      return [
        { what, ok: true, needed: false, detail, next: '' },
        ...troubles.map(({ message, next }) => ({
          what: 'trouble',
          ok: false,
          needed: true,
          detail: message,
          next,
        })),
        ...(await client.leftovers()).map((why) =>
          leftOver(why, 'nothing: the controller removes it within a minute'),
        ),
      ];
    });
  } catch (error) {
    if (!(error instanceof UnideployError)) throw error;
    const silent = { what, ok: false, needed: false, detail: error.message, next: error.next };
    return [silent, ...(await withoutController(context))];
  }
}

async function withoutController({ paths }: Context): Promise<Finding[]> {
  if (!existsSync(paths.root)) return [];
  const { inspect } = await import('../../daemon/inspect.ts');
  const { damage, left } = await inspect(paths);
  const next = 'start a controller, which goes on from the last good copy: unideploy serve';
  const lost = 'make it anew from what runs: unideploy recover';
  return [
    ...(damage === null
      ? []
      : [
          {
            what: 'state',
            ok: false,
            needed: true,
            detail: `the database cannot be relied on: ${damage.why}`,
            next: damage.isLost ? lost : next,
          },
        ]),
    ...left.map((why) => leftOver(why, 'start a controller, which removes it: unideploy serve')),
  ];
}

function leftOver(why: string, next: string): Finding {
  return { what: 'left over', ok: false, needed: false, detail: why, next };
}

function describe({ what, ok, needed, detail, next }: Finding): string {
  const mark = ok ? colors.green('✔') : needed ? colors.red('✖') : colors.yellow('–');
  return `${mark} ${what}: ${detail}${next ? `. Next: ${next}` : ''}`;
}
