import { type Command, InvalidArgumentError, Option } from 'commander';
import ms, { type StringValue } from 'ms';
import { SCOPES, type Scope } from '../../daemon/api-scopes.ts';
import { createToken, listTokens, revokeToken, type Token } from '../../daemon/api-tokens.ts';
import { makeStateFolder } from '../../daemon/paths.ts';
import { table } from '../render/table.ts';
import { run } from '../run.ts';

interface CreateOptions {
  scope: Scope;
  name: string;
  /** epoch milliseconds */
  expires?: number;
}

export function tokenCommand(program: Command): void {
  const command = program
    .command('token')
    .description('who may use the controller from elsewhere; run where its state is');

  const create = command
    .command('create')
    .description('make a token, and show it this once')
    .addOption(new Option('--scope <scope>', 'what its holder may do').choices(SCOPES).makeOptionMandatory())
    .requiredOption('--name <name>', 'who is written into the journal')
    .option('--expires <when>', 'after so long (12h, 30d) or at a time (2027-01-31)', readTime);
  run(create, async ({ paths, json }, { scope, name, expires }: CreateOptions) => {
    await makeStateFolder(paths);
    const { text, token } = await createToken(
      paths.tokens,
      { name, scope, expiresAt: expires ?? null },
      Date.now(),
    );
    if (json) process.stdout.write(`${JSON.stringify({ ...token, token: text })}\n`);
    else {
      process.stderr.write(`token of ${name}, scope ${scope}, ${until(token)}; it is not shown again:\n`);
      process.stdout.write(`${text}\n`);
    }
    return 0;
  });

  const list = command.command('list').description('the tokens that there are, never what they are');
  run(list, async ({ paths, json }) => {
    const tokens = await listTokens(paths.tokens);
    if (json) process.stdout.write(`${JSON.stringify(tokens)}\n`);
    else {
      const rows = tokens.map((token) => [
        ...[token.id, token.name, token.scope],
        ...[new Date(token.createdAt).toISOString(), until(token)],
      ]);
      process.stdout.write(`${table(['id', 'name', 'scope', 'made', 'until'], rows)}\n`);
    }
    return 0;
  });

  const revoke = command
    .command('revoke')
    .description('let a token in no more, from now on')
    .argument('<token>', 'its name or id');
  run(revoke, async ({ paths, json }, which: string) => {
    const token = await revokeToken(paths.tokens, which);
    process.stdout.write(json ? `${JSON.stringify(token)}\n` : `${token.name} is revoked\n`);
    return 0;
  });
}

function until({ expiresAt }: Token): string {
  if (expiresAt === null) return 'for ever';
  const date = new Date(expiresAt).toISOString();
  return expiresAt <= Date.now() ? `expired ${date}` : `until ${date}`;
}

function readTime(text: string): number {
  const isDuration = /^\d{1,6}(m|h|d)$/.test(text);
  const time = isDuration ? Date.now() + ms(text as StringValue) : Date.parse(text);
  if (/^(\d{1,6}[mhd]|\d{4}-.*)$/.test(text) && time > Date.now()) return time;
  throw new InvalidArgumentError('expected a time that is to come, such as 30d or 2027-01-31');
}
