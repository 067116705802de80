import type { Endpoint, Hypervisor, VirtualMachine } from '../../../src/hypervisor/port.ts';
import { until } from '../../../src/hypervisor/qemu/wait.ts';

/** One machine as the hypervisor sees it. */
export async function see(hypervisor: Hypervisor, id: string): Promise<VirtualMachine> {
  const machine = (await hypervisor.list()).find(({ spec }) => spec.id === id);
  if (machine === undefined) throw new Error(`no machine ${id}`);
  return machine;
}

export async function endpointOf(hypervisor: Hypervisor, id: string): Promise<Endpoint> {
  const { endpoint } = await see(hypervisor, id);
  if (endpoint === null) throw new Error(`no endpoint of ${id}`);
  return endpoint;
}

/** Status and body of one answer; status 0 when there was none in time. */
export async function ask(
  { host, port }: Endpoint,
  path: string,
  timeoutMs = 500,
): Promise<{ status: number; body: string }> {
  try {
    const response = await fetch(`http://${host}:${port}${path}`, { signal: AbortSignal.timeout(timeoutMs) });
    return { status: response.status, body: (await response.text()).trim() };
  } catch {
    return { status: 0, body: '' };
  }
}

/** Waits until the guest answers a path with these words; throws what it answered instead at the deadline. */
export async function answersWith(
  endpoint: Endpoint,
  path: string,
  body: string | RegExp,
  deadlineMs = 30_000,
): Promise<void> {
  let last = '';
  const matches = async () => {
    const answer = await ask(endpoint, path);
    last = `${answer.status} ${answer.body}`;
    return typeof body === 'string' ? answer.body === body : body.test(answer.body);
  };
  if (!(await until(matches, deadlineMs, 10))) throw new Error(`${path} answers: ${last}`);
}

/** Waits until a condition holds; throws with its name at the deadline. */
export async function eventually(
  name: string,
  condition: () => boolean | Promise<boolean>,
  deadlineMs = 10_000,
  everyMs = 20,
): Promise<void> {
  if (!(await until(condition, deadlineMs, everyMs))) throw new Error(`not within ${deadlineMs} ms: ${name}`);
}
