import type { Command } from 'commander';
import type { History } from '../../daemon/client.ts';
import { serviceOf, withClient } from '../context.ts';
import { table } from '../render/table.ts';
import { seconds } from '../render/words.ts';
import { run } from '../run.ts';

export function historyCommand(program: Command): void {
  const command = program
    .command('history')
    .description('list the rollouts of the service, and how each ended');
  run(command, (context) =>
    withClient(context, async (client) => {
      const history = await client.history(await serviceOf(context, client));
      process.stdout.write(context.json ? `${JSON.stringify(history)}\n` : `${rows(history)}\n`);
      return 0;
    }),
  );
}

function rows({ rollouts, revisions }: History): string {
  const commitOf = (number: number | null) =>
    revisions.find((revision) => revision.number === number)?.gitCommit?.slice(0, 9) ?? '–';
  return table(
    ['rollout', 'what', 'from', 'to', 'how', 'ended', 'took', 'when', 'who', 'commit'],
    rollouts.map((rollout) => [
      rollout.id,
      rollout.kind,
      rollout.from.revision ?? '–',
      `${rollout.to.revision ?? '–'} × ${rollout.to.replicas}`,
      rollout.strategy,
      rollout.reason ? `${rollout.state}: ${rollout.reason.code}` : rollout.state,
      rollout.endedAt === null ? '…' : seconds(rollout.endedAt - rollout.startedAt),
      new Date(rollout.startedAt).toISOString().slice(0, 19).replace('T', ' '),
      rollout.performer,
      commitOf(rollout.to.revision),
    ]),
  );
}
