import { readFile } from 'node:fs/promises';
import { isScalar, LineCounter, type Node, parseDocument, visit, type YAMLError } from 'yaml';
import { UnideployError } from '../errors.ts';
import { excess } from './bounds.ts';
import type { Config } from './config.ts';
import { locate, offsetPosition, type ParsedFile, type Position } from './positions.ts';
import { ConfigError, type Problem, schemaProblems } from './problems.ts';
import { quoted } from './quoted.ts';
import { resolveConfig } from './resolve.ts';
import { breaches } from './rules.ts';
import { configSchema } from './schema.ts';

/** An alias bomb of a few lines could otherwise grow to gigabytes. */
const MAX_ALIASES = 100;

/**
 * Reads and checks an `unideploy.yaml`. The files that it names may be missing still.
 * @throws UD_CONFIG_NOT_FOUND; ConfigError (UD_CONFIG_INVALID) with every problem and its line
 */
export async function loadConfig(path: string): Promise<Config> {
  return parseConfig(path, await readText(path));
}

/** The same for a text that was read already; `file` is used in messages and to resolve paths. */
export function parseConfig(file: string, text: string): Config {
  const lines = new LineCounter();
  const tooMuch = excess(text);
  if (tooMuch)
    throw new ConfigError([{ ...lineAndColumn(file, text, tooMuch.offset), message: tooMuch.message }]);
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: 'error' });
  const parsed: ParsedFile = { file, document, lines };
  refuse([...document.errors, ...document.warnings].map((error) => yamlProblem(parsed, text, error)));
  refuse(badKeys(parsed));

  const value = plainValue(parsed);
  const result = configSchema.safeParse(value);
  if (!result.success) throw new ConfigError(schemaProblems(parsed, value, result.error.issues));

  refuse(breaches(result.data).map(({ path, message }) => ({ ...locate(parsed, path), message })));
  return resolveConfig(parsed, result.data);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : 'cannot be read';
    throw new UnideployError(
      'UD_CONFIG_NOT_FOUND',
      `the config file ${path} ${reason}`,
      'run `unideploy init` to write one, or name another file',
      { cause: error },
    );
  }
}

function refuse(problems: readonly Problem[]): void {
  if (problems.length > 0) throw new ConfigError(problems);
}

function yamlProblem(parsed: ParsedFile, text: string, error: YAMLError): Problem {
  const [from] = error.pos;
  const position = offsetPosition(parsed, from);
  if (error.code === 'DUPLICATE_KEY') {
    const key = /^[^\s:]+/.exec(text.slice(from))?.[0] ?? '';
    return { ...position, message: `key ${quoted(key)} is given twice, expected once` };
  }
  return { ...position, message: `not valid YAML: ${error.message}` };
}

/** A collection as a key would be written out as a text, and that of a key of a key takes for ever. */
function badKeys(parsed: ParsedFile): Problem[] {
  let found: Problem[] = [];
  visit(parsed.document, {
    Pair(_, { key }) {
      if (key === null || isScalar(key)) return undefined;
      const position = offsetPosition(parsed, (key as Node).range?.[0] ?? 0);
      found = [{ ...position, message: 'a key is a list, a map or an alias, expected a name' }];
      return visit.BREAK;
    },
  });
  return found;
}

function lineAndColumn(file: string, text: string, offset: number): Position {
  const before = text.slice(0, offset).split('\n');
  return { file, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

function plainValue(parsed: ParsedFile): unknown {
  try {
    return parsed.document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    const message = `not usable YAML: ${error instanceof Error ? error.message : String(error)}`;
    throw new ConfigError([{ file: parsed.file, line: 1, column: 1, message }]);
  }
}
