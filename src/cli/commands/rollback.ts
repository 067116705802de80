import { type Command, InvalidArgumentError } from 'commander';
import { serviceOf, withClient } from '../context.ts';
import { follow } from '../follow.ts';
import { run } from '../run.ts';

export function rollbackCommand(program: Command): void {
  const command = program
    .command('rollback')
    .argument(
      '[revision]',
      'revision number; without it, the last stable one before the one that runs',
      toNumber,
    )
    .description('move the service back to an earlier revision, by its exact artifacts');
  run(command, (context, revision?: number) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      const started = await client.rollback(service, revision ?? null, context.performer);
      return await follow(client, started, context.renderer);
    }),
  );
}

export function toNumber(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new InvalidArgumentError('expected a whole number above 0');
}
