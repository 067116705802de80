import type { Command } from 'commander';
import { begin } from '../begin.ts';
import { withBuilt } from '../build.ts';
import { type MetricsOption, metricsOption } from '../metrics-option.ts';
import { runMove } from '../move.ts';
import { startingOptions } from '../patience.ts';
import { type ProxyOption, proxyOption } from '../proxy-option.ts';
import { ensureController } from '../start-controller.ts';

export function upCommand(program: Command): void {
  const command = program
    .command('up')
    .description('start the controller in the background if none runs, and bring the service to its replicas')
    .addOption(proxyOption())
    .addOption(metricsOption());
  startingOptions(command, 'detach');
  runMove(command, async (move, options: ProxyOption & MetricsOption) => {
    const { client, context, interruption } = move;
    return await withBuilt(context, interruption, { kind: 'up' }, async ({ service, request, upload }) => {
      // One elsewhere is there, or it is not.
      const mine = context.elsewhere === null && (await ensureController(client, context.paths, options));
      try {
        await upload(client);
        return await begin(move, service, () => client.deploy(service, request));
      } finally {
        // A first start that failed leaves nothing running; a controller that has services refuses to stop.
        if (mine) await client.stop().catch(() => {});
      }
    });
  });
}
