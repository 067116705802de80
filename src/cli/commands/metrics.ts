import type { Command } from 'commander';
import { withClient } from '../context.ts';
import { run } from '../run.ts';

export function metricsCommand(program: Command): void {
  const command = program
    .command('metrics')
    .description("print the figures of the data plane, in Prometheus' text format");
  run(command, (context) =>
    withClient(context, async (client) => {
      const metrics = await client.metrics();
      process.stdout.write(context.json ? `${JSON.stringify({ metrics })}\n` : metrics);
      return 0;
    }),
  );
}
