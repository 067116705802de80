import { Command, CommanderError } from 'commander';
import { VERSION } from '../version.ts';
import { abortCommand } from './commands/abort.ts';
import { auditCommand } from './commands/audit.ts';
import { doctorCommand } from './commands/doctor.ts';
import { downCommand } from './commands/down.ts';
import { gcCommand } from './commands/gc.ts';
import { historyCommand } from './commands/history.ts';
import { imageCommand } from './commands/image.ts';
import { initCommand } from './commands/init.ts';
import { logsCommand } from './commands/logs.ts';
import { metricsCommand } from './commands/metrics.ts';
import { pauseCommand } from './commands/pause.ts';
import { pinCommand, unpinCommand } from './commands/pin.ts';
import { planCommand } from './commands/plan.ts';
import { promoteCommand } from './commands/promote.ts';
import { proxyCommand } from './commands/proxy.ts';
import { recoverCommand } from './commands/recover.ts';
import { restartCommand } from './commands/restart.ts';
import { resumeCommand } from './commands/resume.ts';
import { retryCommand } from './commands/retry.ts';
import { rollbackCommand } from './commands/rollback.ts';
import { rolloutCommand } from './commands/rollout.ts';
import { scaleCommand } from './commands/scale.ts';
import { serveCommand } from './commands/serve.ts';
import { snapshotCommand } from './commands/snapshot.ts';
import { statusCommand } from './commands/status.ts';
import { tokenCommand } from './commands/token.ts';
import { upCommand } from './commands/up.ts';
import { volumeCommand } from './commands/volume.ts';
import { waitCommand } from './commands/wait.ts';
import { jsonRenderer } from './render/json.ts';
import { linesRenderer } from './render/lines.ts';

/** In the order in which a user meets them, which is the order of `--help`. */
const COMMANDS = [
  initCommand,
  upCommand,
  planCommand,
  rolloutCommand,
  promoteCommand,
  pauseCommand,
  resumeCommand,
  abortCommand,
  retryCommand,
  rollbackCommand,
  restartCommand,
  waitCommand,
  statusCommand,
  historyCommand,
  auditCommand,
  logsCommand,
  scaleCommand,
  downCommand,
  pinCommand,
  unpinCommand,
  gcCommand,
  volumeCommand,
  imageCommand,
  snapshotCommand,
  metricsCommand,
  proxyCommand,
  doctorCommand,
  recoverCommand,
  serveCommand,
  tokenCommand,
];

/** Runs the command line; the exit code is left in `process.exitCode`. */
export async function main(argv: string[]): Promise<void> {
  const program = commandLine();
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : usage(error, argv, program);
  }
}

/** All commands and their options. */
export function commandLine(): Command {
  const program = new Command('unideploy')
    .description(
      'Deploys unikernels without a client noticing: image rollouts, volume swaps, and the way back.',
    )
    .version(VERSION)
    .option('-f, --file <path>', 'the config', 'unideploy.yaml')
    .option('-s, --service <name>', 'the service, where there is no config to name it')
    .option(
      '--state <folder>',
      "the controller's state folder (default: UNIDEPLOY_STATE, or the user's state folder)",
    )
    .option('--api <url>', 'a controller elsewhere, https://host:port; its token is in UNIDEPLOY_TOKEN')
    .option('--api-ca <file>', 'certificate that the one of --api is signed by, PEM')
    .option('--json', 'NDJSON on standard output, the result last')
    .showHelpAfterError('(see unideploy --help)')
    .configureOutput({ writeErr: () => {} })
    .exitOverride();
  for (const command of COMMANDS) command(program);
  for (const command of program.commands.flatMap((each) => [each, ...each.commands])) {
    command
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .helpOption('-h, --help', 'help');
  }
  return program;
}

function usage({ code, message }: CommanderError, argv: string[], program: Command): number {
  const renderer = argv.includes('--json') ? jsonRenderer() : linesRenderer();
  const command = program.commands.find((candidate) => argv.includes(candidate.name()));
  const cause =
    code === 'commander.help'
      ? 'no command was given'
      : message.replace(/^error: /, '').replaceAll('\n', ' ');
  const next = `see unideploy ${command ? `${command.name()} ` : ''}--help`;
  renderer.error({ code: 'UD_USAGE', message: cause, next });
  return 2;
}
