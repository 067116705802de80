import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { commandLine } from '../../../src/cli/main.ts';

const ROOT = join(import.meta.dirname, '../../..');
const read = (file: string) => readFile(join(ROOT, file), 'utf8');
const program = commandLine();

/** The shell scripts of a workflow, wherever they stand. */
function scriptsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(scriptsOf);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, below]) =>
    key === 'run' || key === 'script' ? [below].flat().map(String) : scriptsOf(below),
  );
}

/** Every call of unideploy in a text of shell: its words up to whatever ends it. */
function callsIn(text: string): string[][] {
  return [...text.matchAll(/\bunideploy ([a-z][^\n|;&>)`]*)/g)].map(([, words = '']) =>
    words.trim().split(/\s+/),
  );
}

function commandOf([name]: string[]): Command | undefined {
  return program.commands.find((command) => command.name() === name);
}

function optionsOf(command: Command): string[] {
  return [...command.options, ...program.options]
    .flatMap(({ long, short }) => [long, short])
    .filter((o) => o != null);
}

describe.each(['examples/ci/github-actions.yml', 'examples/ci/gitlab-ci.yml'])('%s', (file) => {
  it('calls unideploy by commands and options that there are', async () => {
    const calls = scriptsOf(parse(await read(file))).flatMap(callsIn);
    expect(calls.length).toBeGreaterThan(4);
    for (const call of calls) {
      const command = commandOf(call);
      expect([call.join(' '), command?.name()]).toEqual([call.join(' '), call[0]]);
      const options = call.filter((word) => word.startsWith('-'));
      expect(command && optionsOf(command)).toEqual(expect.arrayContaining(options));
    }
  });

  it('rolls out in its turn, expecting the revision it has seen, and leaves promotion and rollback to people', async () => {
    const scripts = scriptsOf(parse(await read(file))).join('\n');
    expect(scripts).toMatch(/unideploy rollout --json --wait 15m --expect-revision/);
    expect(scripts).toContain('unideploy promote');
    expect(scripts).toContain('unideploy rollback --to');
  });
});

describe('the commands', () => {
  it('are all in the README, and no other', async () => {
    const documented = [...(await read('README.md')).matchAll(/^\| `unideploy ([a-z]+)/gm)].map(
      ([, name]) => name,
    );
    const names = program.commands.map((command) => command.name());
    expect([...new Set(documented)].sort()).toEqual(names.sort());
  });

  it('of the contract, and their options, are all there', async () => {
    const text = await read('docs/ci.md');
    for (const call of callsIn(text.replaceAll('`', '\n')))
      expect([call, commandOf(call)?.name()]).toEqual([call, call[0]]);
    const known = [program, ...program.commands].flatMap(optionsOf);
    expect(known).toEqual(
      expect.arrayContaining([...text.matchAll(/`(--[a-z-]+)/g)].map(([, option]) => option)),
    );
  });

  it('exit with the codes of the contract, and with no other', async () => {
    const rows = [...(await read('docs/ci.md')).matchAll(/^\| (\d[\d, ]*) \|/gm)].flatMap(([, codes = '']) =>
      codes.split(', '),
    );
    expect(rows.map(Number)).toEqual([0, 2, 3, 4, 5, 6, 7, 8, 130, 143]);
    const table = [...(await read('docs/errors.md')).matchAll(/^\| (\d[\d, ]*) \|/gm)].flatMap(
      ([, codes = '']) => codes.split(', '),
    );
    expect(table.map(Number)).toEqual(rows.map(Number));
  });
});
