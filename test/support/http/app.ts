import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** An application in a process of its own; it answers every request with its revision. */
export interface App {
  port: number;
  pid: number;
  /** Ends it as a power cut does: SIGKILL. */
  kill(): Promise<void>;
}

/** `bytes`: length of its answers; a short line otherwise. */
export async function startApp(revision: string, bytes?: number): Promise<App> {
  return await start([APP, revision, ...(bytes === undefined ? [] : [String(bytes)])]);
}

/** One that listens with a backlog of 1, and takes `acceptMs` to accept a connection. */
export async function startNarrowApp(acceptMs: number): Promise<App> {
  return await start([NARROW_APP, String(acceptMs)]);
}

async function start(args: string[]): Promise<App> {
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const [port] = await Promise.race([
    once(child.stdout, 'data'),
    exit.then(() => Promise.reject(new Error('the application did not start'))),
  ]);
  return {
    port: Number(port),
    pid: child.pid as number,
    async kill() {
      child.kill('SIGKILL');
      await exit;
    },
  };
}

const APP = fileURLToPath(new URL('app.mjs', import.meta.url));
const NARROW_APP = fileURLToPath(new URL('narrow-app.mjs', import.meta.url));
