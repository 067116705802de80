import type { Command } from 'commander';
import type { Client } from '../../daemon/client.ts';
import type { Plan } from '../../daemon/messages.ts';
import { canonical } from '../../domain/revision.ts';
import { withBuilt } from '../build.ts';
import { type Context, withClient } from '../context.ts';
import { Interruption } from '../interruption.ts';
import { did } from '../render/actions.ts';
import { seconds } from '../render/words.ts';
import { run } from '../run.ts';

export function planCommand(program: Command): void {
  const command = program
    .command('plan')
    .description('say what a rollout would do, step by step, and change nothing')
    .option('--exit-code', 'exit with 8 when there is something to do, and with 0 when there is nothing');
  run(command, (context, { exitCode = false }: { exitCode?: boolean }) =>
    withClient(context, async (client) => {
      await client.ping();
      const { service, plan } = await planned(context, client);
      process.stdout.write(
        context.json ? `${JSON.stringify(plan)}\n` : `${describePlan(service, plan).join('\n')}\n`,
      );
      return exitCode && plan.strategy !== null ? CHANGES_PENDING : 0;
    }),
  );
}

const CHANGES_PENDING = 8;

async function planned(context: Context, client: Client): Promise<{ service: string; plan: Plan }> {
  const interruption = new Interruption();
  try {
    return await withBuilt(context, interruption, { kind: 'rollout' }, async ({ service, request }) => ({
      service,
      plan: await interruption.unlessHeard(client.plan(service, request)),
    }));
  } catch (error) {
    throw interruption.instead(error);
  } finally {
    interruption.close();
  }
}

function describePlan(service: string, { strategy, from, to, steps, ms }: Plan): string[] {
  if (strategy === null) return [`no change: ${service} serves revision ${to.revision} already`];
  const source = from.revision === null ? 'nothing' : `revision ${from.revision} on ${from.replicas}`;
  const actions = steps.flatMap((entry) => (entry.event === 'action-started' ? [entry] : []));
  const start = steps[0]?.at ?? 0;
  const front = ({ listen, traffic }: Plan['to']) => canonical({ listen, traffic });
  const moves = from.revision !== null && front(from) !== front(to);
  return [
    `${service}: ${source} → revision ${to.revision} on ${to.replicas}, ${strategy}`,
    ...(moves ? [`  ${seconds(0).padStart(8)}  change listen or proxy`] : []),
    ...actions.map(({ at, action }) => `  ${seconds(at - start).padStart(8)}  ${did(action, 'planned')}`),
    `about ${seconds(ms)} if guests behave like the model's; nothing was changed`,
  ];
}
