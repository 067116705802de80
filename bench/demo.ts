import colors from 'picocolors';
import { table } from '../src/cli/render/table.ts';
import { seconds } from '../src/cli/render/words.ts';
import { failedOf, type Ledger, type Load, startLoad } from '../test/support/http/load.ts';
import { openWorkplace, type Project } from './workplace.ts';

/** Steady load on each service: connections, and requests a second over all of them. */
const CONNECTIONS = 8;
const RATE = 40;

interface Row {
  step: string;
  ms: number;
  requests: number;
  failed: number;
  /** whether the command ended as it should */
  asPromised: boolean;
}

/** The main job, on real guests under load: what happens to the clients' requests is what it is about. */
async function main(): Promise<number> {
  const workplace = await openWorkplace((line) => process.stdout.write(`  ${colors.dim(line)}\n`));
  const loads: Load[] = [];
  const rows: Row[] = [];
  const step = async (name: string, project: Project, args: string[], exitCode = 0) => {
    process.stdout.write(`\n${colors.bold(name)}  ${colors.dim(`unideploy ${args.join(' ')}`)}\n`);
    const before = totals(loads);
    const began = performance.now();
    const asPromised = (await project.unideploy(args)) === exitCode;
    const ms = performance.now() - began;
    const after = totals(loads);
    rows.push({
      step: name,
      ms,
      requests: after.sent - before.sent,
      failed: after.failed - before.failed,
      asPromised,
    });
  };
  const start = async (name: string, project: Project) => {
    await step(name, project, ['up']);
    loads.push(startLoad({ url: await project.url(), connections: CONNECTIONS, rate: RATE }));
  };

  try {
    const [site, app, php] = [
      await workplace.project('html-site'),
      await workplace.project('compiled-app'),
      await workplace.project('php-app'),
    ];
    await start('start the HTML site on four guests', site);
    await site.edit('public/index.html', (text) => text.replace('</body>', '<p>A new version.</p></body>'));
    await step('volume swap of the HTML site', site, ['rollout']);

    await start('start the compiled app on four guests', app);
    await app.edit('VERSION', () => '2.0.0\n');
    await step('rolling rollout of a fresh image', app, ['rollout']);

    await start('start the PHP app on four guests', php);
    await php.edit('code/version.php', (text) => text.replace('1.0.0', '2.0.0'));
    await step('volume swap of the PHP app', php, ['rollout']);

    const badGuest = 'guest:\n  cmdline: ud.fault=panic-after:0';
    await app.edit('unideploy.yaml', (text) => text.replace('guest:', badGuest));
    await step('a bad revision rolls itself back', app, ['rollout'], 3);
    await step('rollback by command', app, ['rollback']);
  } finally {
    const ledgers = await Promise.all(loads.map((load) => load.stop()));
    process.stdout.write(`\n${colors.bold('taking everything down')}\n`);
    await workplace.close();
    report(rows, ledgers);
  }
  return rows.length === 8 && rows.every(({ failed, asPromised }) => failed === 0 && asPromised) ? 0 : 1;
}

function totals(loads: Load[]): { sent: number; failed: number } {
  const ledgers = loads.map(({ ledger }) => ledger);
  return {
    sent: ledgers.reduce((sum, { sent }) => sum + sent, 0),
    failed: ledgers.reduce((sum, ledger) => sum + failedOf(ledger), 0),
  };
}

function report(rows: Row[], ledgers: Ledger[]): void {
  const sent = ledgers.reduce((sum, ledger) => sum + ledger.sent, 0);
  const failed = ledgers.reduce((sum, ledger) => sum + failedOf(ledger), 0);
  const lines = rows.map((row) => [
    row.step,
    seconds(row.ms),
    row.requests,
    row.failed,
    row.asPromised ? '' : '← not as promised',
  ]);
  const all = ['the whole run, between the steps too', '', sent, failed, ''];
  process.stdout.write(`\n${table(['step', 'time', 'requests', 'failed', ''], [...lines, all])}\n`);
  for (const failure of ledgers.flatMap(({ failures }) => failures).slice(0, 20)) {
    process.stdout.write(`${colors.red('failed request')} ${failure.at} ${failure.kind}: ${failure.cause}\n`);
  }
}

process.exitCode = await main();
