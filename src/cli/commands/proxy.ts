import type { Command } from 'commander';
import { withClient } from '../context.ts';
import { run } from '../run.ts';

export function proxyCommand(program: Command): void {
  const group = program.command('proxy').description('look after the data plane');
  const upgrade = group
    .command('upgrade')
    .description(
      'put the program that is installed now in the place of the one that serves, without a pause',
    );
  run(upgrade, (context) =>
    withClient(context, async (client) => {
      await client.upgradeProxy();
      process.stdout.write(
        context.json ? `${JSON.stringify({ result: 'upgraded' })}\n` : 'done: the data plane is upgraded\n',
      );
      return 0;
    }),
  );
}
