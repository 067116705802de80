import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config/load.ts';
import { UnideployError } from '../../src/errors.ts';
import { mutated, mutatedJson } from '../support/fuzz/mutations.ts';
import { rounds } from '../support/fuzz/rounds.ts';
import { within } from '../support/fuzz/within.ts';

/** Configs that people start from: those of the examples, and the blocks of the documentation. */
const EXAMPLES = [
  ...texts('examples', (name) => `${name}/unideploy.yaml`),
  ...texts('docs', (name) => name).flatMap((text) =>
    [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, block]) => block ?? ''),
  ),
];

/** Ten times what the slowest was seen to take, in milliseconds. */
const DEADLINE = 10_000;
const TOO_LONG = 1 << 20;

/** Expects a config, or the one line that a user is shown; never anything else, and never much later. */
function readsOrRefuses(text: string): void {
  try {
    within(DEADLINE, () => parseConfig('unideploy.yaml', text));
  } catch (error) {
    if (!(error instanceof UnideployError)) throw error;
    expect(error.code).toBe('UD_CONFIG_INVALID');
    expect(error.message).toMatch(/^unideploy\.yaml:\d+:\d+: [^\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Cs}]+$/u);
    expect(error.message.length).toBeLessThan(2_000);
  }
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
}

const check = (inputs: fc.Arbitrary<string>, numRuns: number) =>
  fc.assert(fc.property(inputs, readsOrRefuses), { numRuns: rounds(numRuns) });

describe('a config', () => {
  it('may be any text', () => {
    check(fc.oneof(fc.string({ unit: 'binary', maxLength: 500 }), fc.string({ unit: 'grapheme' })), 2_000);
  });

  it('may be any sequence of what YAML gives a meaning', () => {
    const tokens = [
      ...['{', '}', '[', ']', ',', ': ', '- ', '? ', '\n', '\n  ', '\n\t', '|\n', '>-\n ', '#', '"', "'"],
      ...['&a ', '*a', '*b', '!!binary ', '!!set ', '!!omap ', '!!merge ', '!x ', '<<: ', '---\n', '...\n'],
      ...['%YAML 1.1\n', '%TAG ! x\n', '%', '@', '`', '\0', '\u001b[2J', '\u2028', '\ufeff', '\\x'],
      ...[
        'service: a',
        'guest:',
        'volumes:',
        '__proto__: 1',
        'constructor:',
        '1e999',
        '.inf',
        '0o7',
        '~',
        'x',
      ],
    ];
    check(
      fc.array(fc.constantFrom(...tokens), { maxLength: 60 }).map((each) => each.join('')),
      1_500,
    );
  });

  it('may be one of the examples with anything wrong in it', () => {
    check(mutated(EXAMPLES), 1_000);
  });

  it('may have any value, and any key, at any place', () => {
    const values = EXAMPLES.map((text) => parse(text) as unknown);
    check(fc.constantFrom(...values).chain(mutatedJson), 1_000);
  });

  it('may be deeper and wider than memory', () => {
    const shape = fc.constantFrom<(n: number) => string>(
      (n) => '['.repeat(n),
      (n) => `volumes: ${'['.repeat(n)}${']'.repeat(n)}`,
      (n) => '{a: '.repeat(n),
      (n) => '- '.repeat(n),
      (n) => '? '.repeat(n),
      (n) => '&a '.repeat(n),
      (n) => '!!set '.repeat(n),
      (n) => Array.from({ length: Math.min(n, 800) }, (_, i) => `${' '.repeat(i)}a:\n`).join(''),
      (n) => `a: ${'x'.repeat(n)}`,
      (n) => `a: "${'\\n'.repeat(n)}"`,
      (n) => '"'.repeat(n),
      (n) => "'".repeat(n),
      (n) => '#'.repeat(n),
      (n) => '\n'.repeat(n),
      (n) => ' '.repeat(n),
      (n) => '\t'.repeat(n),
      (n) => 'a: 1\n'.repeat(n),
      (n) => Array.from({ length: n }, (_, i) => `a${i}: 1\n`).join(''),
      (n) => `volumes: [${'{},'.repeat(n)}]`,
      (n) => '---\n'.repeat(n),
      (n) => '%a\n'.repeat(n),
      (n) => `a: ${'9'.repeat(n)}`,
      (n) => `a: &a []\nb: [${'*a,'.repeat(n)}]`,
      (n) => `${'x'.repeat(n)}: 1`,
      (n) => `service: a\nguest: {profile: linux, ${'k: 1, '.repeat(n)}}`,
    );
    const size = fc.constantFrom(10, 1_000, 10_000, 60_000, TOO_LONG);
    check(
      fc.tuple(shape, size).map(([make, n]) => make(n)),
      150,
    );
  });

  it('may have aliases of aliases, also of itself', () => {
    const bomb = fc
      .record({
        levels: fc.integer({ min: 1, max: 40 }),
        fan: fc.integer({ min: 1, max: 12 }),
        merge: fc.boolean(),
        self: fc.boolean(),
      })
      .map(({ levels, fan, merge, self }) => {
        const lines = ['a0: &a0 {x: y}'];
        for (let n = 1; n <= levels; n++) {
          const below = Array(fan)
            .fill(self ? `*a${n}` : `*a${n - 1}`)
            .join(', ');
          lines.push(`a${n}: &a${n} ${merge ? `{<<: [${below}]}` : `[${below}]`}`);
        }
        return `${lines.join('\n')}\nvolumes: *a${levels}\n<<: *a${levels}\n`;
      });
    check(bomb, 60);
  });
});

/** Of every entry of a folder, the file that it names; sorted, for the seed to mean the same everywhere. */
function texts(folder: string, fileOf: (entry: string) => string): string[] {
  const root = fileURLToPath(new URL(`../../${folder}`, import.meta.url));
  return readdirSync(root)
    .sort()
    .map((entry) => join(root, fileOf(entry)))
    .filter(existsSync)
    .map((file) => readFileSync(file, 'utf8'));
}
