import type { z } from 'zod';
import { UnideployError } from '../errors.ts';
import { unknownKey } from './known-keys.ts';
import { type KeyPath, locate, type ParsedFile, type Position, place } from './positions.ts';
import { quoted } from './quoted.ts';

/** One thing that is wrong in the config, and where. */
export interface Problem extends Position {
  message: string;
}

/** UD_CONFIG_INVALID with all that is wrong, in the order of the file. */
export class ConfigError extends UnideployError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
    const [first, ...more] = sorted.map(problemLine);
    super(
      'UD_CONFIG_INVALID',
      more.length === 0 ? `${first}` : `${first} (and ${more.length} more)`,
      'correct the file; docs/configuration.md lists every key',
    );
    this.problems = sorted;
  }
}

/** `file:line:column: what is wrong`. */
export function problemLine(problem: Problem): string {
  return `${place(problem)}: ${problem.message}`;
}

/** The problems that the schema found in a value, each at its key or value. */
export function schemaProblems(
  parsed: ParsedFile,
  value: unknown,
  issues: readonly z.core.$ZodIssue[],
): Problem[] {
  const seen = new Set<string>();
  return issues
    .flatMap((issue) => fromIssue(parsed, value, issue, []))
    .filter((problem) => {
      const line = problemLine(problem);
      return !seen.has(line) && seen.add(line);
    });
}

function fromIssue(parsed: ParsedFile, root: unknown, issue: z.core.$ZodIssue, above: KeyPath): Problem[] {
  const path = [...above, ...(issue.path as KeyPath)];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      ...locate(parsed, [...path, key]),
      message: unknownKey(path, key),
    }));
  }
  const found = valueAt(root, path);
  const branch =
    issue.code === 'invalid_union' && isContainer(found) ? issue.errors.find(isInside) : undefined;
  if (branch) return branch.flatMap((inner) => fromIssue(parsed, root, inner, path));
  if (issue.code === 'invalid_key') {
    const expected = issue.issues[0]?.message ?? issue.message;
    return [{ ...locate(parsed, path), message: `key ${show(path.at(-1))} is not right, ${expected}` }];
  }
  return [{ ...locate(parsed, path, 'value'), message: `${say(path, found)}, ${issue.message}` }];
}

/** A union's branch of the right type: its issues are about something inside the value. */
function isInside(issues: readonly z.core.$ZodIssue[]): boolean {
  return issues.every(({ path, code }) => path.length > 0 || code === 'unrecognized_keys');
}

function say(path: KeyPath, found: unknown): string {
  const key = path.length === 0 ? 'the file' : keyName(path);
  if (found === undefined) return `${key} is missing`;
  if (found === null) return `${key} is empty`;
  return `${key} is ${show(found)}`;
}

/** `guest.kernel`, `volumes[1].name`. */
export function keyName(path: KeyPath): string {
  return path.reduce<string>(
    (text, segment) =>
      typeof segment === 'number'
        ? `${text}[${segment}]`
        : text === ''
          ? plainKey(segment)
          : `${text}.${plainKey(segment)}`,
    '',
  );
}

function plainKey(key: string): string {
  return /^[\w-]{1,60}$/.test(key) ? key : quoted(key);
}

function show(found: unknown): string {
  if (Array.isArray(found)) return found.length > 8 ? `a list of ${found.length}` : 'a list';
  if (isContainer(found)) return 'a map';
  return typeof found === 'string' ? quoted(found) : String(found);
}

function valueAt(root: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>(
    (value, segment) =>
      isContainer(value) ? (value as Record<string | number, unknown>)[segment] : undefined,
    root,
  );
}

function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
