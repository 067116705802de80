import { type Command, InvalidArgumentError } from 'commander';
import { begin } from '../begin.ts';
import { withBuilt } from '../build.ts';
import { runMove } from '../move.ts';
import { startingOptions } from '../patience.ts';

interface Options {
  expectRevision?: number;
  force?: boolean;
  supersede?: boolean;
}

export function rolloutCommand(program: Command): void {
  const command = program
    .command('rollout')
    .description(
      'build what the config says and move the service to it; a revision that does not come up is rolled back',
    )
    .option(
      '--expect-revision <number>',
      'refuse when the service is at another revision than this, 0: at any',
      toRevision,
    )
    .option('--force', 'replace every instance, also when nothing differs from what runs')
    .option('--supersede', 'take over from the rollout under way, if there is one');
  startingOptions(command, 'abort');
  runMove(command, async (move, { expectRevision, force = false, supersede = false }: Options) => {
    const { client, context, interruption } = move;
    await client.ping();
    const asked = { kind: 'rollout', expect: expectRevision ?? null, force, supersede } as const;
    return await withBuilt(context, interruption, asked, async ({ service, request, upload }) => {
      await upload(client);
      return await begin(move, service, () => client.deploy(service, request));
    });
  });
}

function toRevision(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('expected the number of a revision, or 0');
}
