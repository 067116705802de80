import { rm, writeFile } from 'node:fs/promises';
import { resumeGuest } from './qmp/commands.ts';
import type { QmpSession } from './qmp/session.ts';
import type { RunDirectory } from './run-directory.ts';

/** Milliseconds that QEMU has to let a guest go on. */
const GOES_ON_WITHIN = 5_000;

/** Says, where the next controller finds it, that the guest is to go on whoever dies. */
export async function beginStandstill({ saving }: RunDirectory): Promise<void> {
  await writeFile(saving, '', { mode: 0o600 });
}

/** Lets the guest go on that was stopped to be saved, or was about to be. */
export async function endStandstill(session: QmpSession, { saving }: RunDirectory): Promise<void> {
  await resumeGuest(session, GOES_ON_WITHIN);
  await rm(saving, { force: true });
}
