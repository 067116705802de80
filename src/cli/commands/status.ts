import type { Command } from 'commander';
import type { Client } from '../../daemon/client.ts';
import type { InstanceStatus, ServiceStatus } from '../../daemon/messages.ts';
import { systemClock } from '../../daemon/system-clock.ts';
import { isAvailable } from '../../domain/pool.ts';
import { goal, type Rollout } from '../../domain/rollout.ts';
import type { TrafficPolicy } from '../../domain/traffic.ts';
import { type Context, withClient } from '../context.ts';
import { table } from '../render/table.ts';
import { named, seconds } from '../render/words.ts';
import { run } from '../run.ts';

const WATCH_EVERY = 1000;

export function statusCommand(program: Command): void {
  const command = program
    .command('status')
    .description('show what runs: revisions, instances, health and traffic, as they are now')
    .option('-w, --watch', 'go on showing it');
  run(command, (context, options: { watch?: boolean }) =>
    withClient(context, async (client) => {
      if (options.watch) await watch(context, client);
      else await show(context, client, printed);
      return 0;
    }),
  );
}

/** For ever: Ctrl-C ends it. */
async function watch(context: Context, client: Client): Promise<never> {
  const print = process.stdout.isTTY && !context.json ? await overwriting() : printed;
  for (;;) {
    await show(context, client, print);
    await systemClock.sleep(WATCH_EVERY);
  }
}

/** Each text in the place of the one before. */
async function overwriting(): Promise<(text: string) => void> {
  const { createLogUpdate } = await import('log-update');
  return createLogUpdate(process.stdout);
}

function printed(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function show(
  { json, service }: Context,
  client: Client,
  print: (text: string) => void,
): Promise<void> {
  const services = service === null ? await client.services() : [await client.service(service)];
  if (json) print(JSON.stringify(services));
  else print(services.length === 0 ? 'nothing runs' : services.map(describe).join('\n\n'));
}

function describe(status: ServiceStatus): string {
  const { name, goal, listen, traffic, instances, requests, failures, held, open } = status;
  const serving = instances.filter(isAvailable).length;
  const address = listen && traffic ? url(traffic, listen) : 'no listener';
  const revision = goal.revision === null ? 'no revision yet' : `revision ${goal.revision}`;
  const waiting = held > 0 ? `, ${held} held` : '';
  const head = `${name}  ${revision}  ${serving}/${goal.replicas} serving  ${address}  ${requests} requests, ${failures} failed${waiting}`;
  const under = open ? [`  ${named(open.id, open.kind, name)} under way ${way(open)}, ${open.strategy}`] : [];
  return [head, ...under, table(HEAD, instances.map(row))].join('\n');
}

/** The address as clients write it; the brackets of IPv6 included. */
function url({ mode, tls }: TrafficPolicy, { host, port }: { host: string; port: number }): string {
  const scheme = mode === 'tcp' ? 'tcp' : tls ? 'https' : 'http';
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Where a rollout is going now. */
function way(open: Rollout): string {
  const { revision } = goal(open);
  const to = revision === null ? 'to nothing' : `to revision ${revision}`;
  return open.direction === 'forward' ? to : `back ${to}`;
}

const HEAD = ['instance', 'revision', 'verified', 'health', 'state', 'weight', 'in flight', 'address', 'age'];

function row(instance: InstanceStatus): (string | number)[] {
  const { id, revision, verified, health, state, runState, endpoint, launchedAt } = instance;
  const { weight, inFlight, usable } = instance;
  return [
    id,
    revision ?? '?',
    verified ? 'yes' : 'no',
    health,
    state === 'running' && runState !== null ? runState : state,
    usable === false ? `${weight}, out` : weight,
    inFlight,
    endpoint ? `${endpoint.host}:${endpoint.port}` : '–',
    seconds(Date.now() - launchedAt),
  ];
}
