import { eventually } from '../qemu/asking.ts';
import { end } from './processes.ts';
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

/**
 * Stops the process of a guest as soon as there is one: to everybody else it hangs.
 * @returns its process id
 */
export async function freeze(place: Workplace, instance: string): Promise<number> {
  let pid = 0;
  const started = async () => {
    pid = (await place.guestPids())[instance] ?? 0;
    return pid > 0;
  };
  await eventually(`${instance} runs`, started, 10_000, 5);
  end(pid, 'SIGSTOP');
  return pid;
}
