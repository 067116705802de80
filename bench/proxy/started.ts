import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** A program of the measurement that serves a port. */
export interface Started {
  port: number;
  pid: number;
  end(): Promise<void>;
}

/** Starts a program that prints its port on its first line. */
export async function startPrinting(program: string, args: string[]): Promise<Started> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const [port] = await Promise.race([
    once(child.stdout, 'data'),
    exit.then(() => Promise.reject(new Error(`${program} ${args.join(' ')} did not start`))),
  ]);
  return {
    port: Number(port),
    pid: child.pid as number,
    async end() {
      child.kill('SIGKILL');
      await exit;
    },
  };
}
