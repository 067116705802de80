import type { Command } from 'commander';
import type { Client } from '../../daemon/client.ts';
import { systemClock } from '../../daemon/system-clock.ts';
import { type Context, withClient } from '../context.ts';
import { describeService } from '../render/service.ts';
import { oneLine } from '../render/words.ts';
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
  const { troubles = [] } = await client.ping();
  for (const trouble of troubles) process.stderr.write(`unideploy: ${oneLine(trouble)}\n`);
  const services = service === null ? await client.services() : [await client.service(service)];
  if (json) print(JSON.stringify(services));
  else print(services.length === 0 ? 'nothing runs' : services.map(describeService).join('\n\n'));
}
