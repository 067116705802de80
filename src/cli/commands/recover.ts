import type { Command } from 'commander';
import { makeStateFolder } from '../../daemon/paths.ts';
import type { Recovery } from '../../daemon/recover.ts';
import { systemClock } from '../../daemon/system-clock.ts';
import { run } from '../run.ts';

export function recoverCommand(program: Command): void {
  const command = program
    .command('recover')
    .description(
      'make a lost or damaged state anew from its last good copy and from what runs; no controller may run, and what serves goes on',
    )
    .option('--dry-run', 'say what would be done, and do nothing');
  run(command, async ({ paths, json }, { dryRun = false }: { dryRun?: boolean }) => {
    // Loaded only here, as the controller is.
    const { recover } = await import('../../daemon/recover.ts');
    await makeStateFolder(paths);
    const recovery = await recover(paths, { now: systemClock.now(), dryRun });
    const text = json ? JSON.stringify({ ...recovery, dryRun }) : describe(recovery, dryRun).join('\n');
    process.stdout.write(`${text}\n`);
    return 0;
  });
}

function describe({ from, why, aside, told }: Recovery, dryRun: boolean): string[] {
  if (from === 'whole') return ['the state is whole: there is nothing to recover', ...told];
  const made = dryRun ? 'would be' : 'was';
  const source =
    from === 'copy' ? `its last good copy, and what runs` : 'what runs and what was written down';
  return [
    `the state ${made} made anew from ${source}${why === null ? '' : ` (${why})`}`,
    ...(aside === null ? [] : [`what it was is kept as ${aside}`]),
    ...(told.length === 0 ? ['no service was found that it does not know'] : told),
    ...(dryRun ? [] : ['Next: unideploy serve']),
  ];
}
