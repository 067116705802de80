import type { Command } from 'commander';
import { serviceOf, withClient } from '../context.ts';
import { auditTable } from '../render/audit.ts';
import { run } from '../run.ts';

export function auditCommand(program: Command): void {
  const command = program
    .command('audit')
    .description('list what was done to the service, when and by whom: the end of its journal');
  run(command, (context) =>
    withClient(context, async (client) => {
      const entries = await client.audit(await serviceOf(context, client));
      const lines = context.json ? entries.map((entry) => JSON.stringify(entry)) : [auditTable(entries)];
      for (const line of lines) process.stdout.write(`${line}\n`);
      return 0;
    }),
  );
}
