import type { Command } from 'commander';
import { withBuilt } from '../build.ts';
import { withClient } from '../context.ts';
import { follow } from '../follow.ts';
import { type MetricsOption, metricsOption } from '../metrics-option.ts';
import { type ProxyOption, proxyOption } from '../proxy-option.ts';
import { run } from '../run.ts';
import { ensureController } from '../start-controller.ts';

export function upCommand(program: Command): void {
  const command = program
    .command('up')
    .description('start the controller in the background if none runs, and bring the service to its replicas')
    .addOption(proxyOption())
    .addOption(metricsOption());
  run(command, (context, options: ProxyOption & MetricsOption) =>
    withBuilt(context, 'up', ({ service, request, upload }) =>
      withClient(context, async (client) => {
        const mine = await ensureController(client, context.paths, options);
        try {
          await upload(client);
          return await follow(client, await client.deploy(service, request), context.renderer);
        } finally {
          // A first start that failed leaves nothing running; a controller that has services refuses to stop.
          if (mine) await client.stop().catch(() => {});
        }
      }),
    ),
  );
}
