import { execa } from 'execa';
import { CONFINING, confined, confinedEnvironment, type Limits, type User } from '../../confinement.ts';
import { needTools } from './tools.ts';

/** Where and as whom qemu-img works. */
export interface ImageTool {
  /** path of qemu-img */
  program: string;
  folder: string;
  user: User | null;
}

/** Runs qemu-img, which may read what somebody has made to harm, without privileges. @param deadline milliseconds */
export async function runImageTool(
  { program, folder, user }: ImageTool,
  words: string[],
  { limits, deadline }: { limits: Limits; deadline: number },
): Promise<{ failed: boolean; stdout: string; complaint: string }> {
  await needTools(program, ...CONFINING);
  const [first = '', ...rest] = confined([program, ...words], { user, limits });
  const { failed, stdout, stderr, timedOut } = await execa(first, rest, {
    cwd: folder,
    env: confinedEnvironment(),
    extendEnv: false,
    reject: false,
    timeout: deadline,
    killSignal: 'SIGKILL',
  });
  const complaint = timedOut ? `not within ${deadline / 1000} s` : stderr.trim().replaceAll('\n', ' ');
  return { failed, stdout, complaint };
}
