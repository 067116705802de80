import { eventually } from '../qemu/asking.ts';
import type { Workplace } from './workplace.ts';

/** Has one guest misbehave, at its own port: `never-healthy`, `dies-after:100`. */
export async function misbehave(place: Workplace, instance: string, fault: string): Promise<void> {
  const { instances } = await place.status();
  const endpoint = instances.find(({ id }) => id === instance)?.endpoint;
  if (!endpoint) throw new Error(`${instance} has no address`);
  const url = `http://${endpoint.host}:${endpoint.port}/.unideploy/fault/${fault}`;
  const { status } = await fetch(url, { method: 'POST' });
  if (status !== 200) throw new Error(`${instance} answered ${status} to ${fault}`);
}

/** Stops the process of a guest as soon as there is one: to everybody else it hangs. */
export async function freeze(place: Workplace, instance: string): Promise<void> {
  let pid: number | undefined;
  const started = async () => {
    pid = (await place.guestPids())[instance];
    return pid !== undefined;
  };
  await eventually(`${instance} runs`, started, 10_000, 5);
  process.kill(pid ?? 0, 'SIGSTOP');
}

export async function thaw(place: Workplace, instance: string): Promise<void> {
  const pid = (await place.guestPids())[instance];
  if (pid !== undefined) process.kill(pid, 'SIGCONT');
}
