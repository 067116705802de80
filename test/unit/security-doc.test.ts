import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

/** The lines of docs/security.md: what holds, the test file, and the title. */
const LINES = [...read('../../docs/security.md').matchAll(/^\| (?!what holds|---)(.+) \| (.+) \|$/gm)].map(
  ([, what = '', named = '']) => {
    const [, file = '', title = ''] = /^`([a-z0-9/-]+)`: (.+)$/.exec(named) ?? [];
    return { what, file, title };
  },
);

test('there are lines', () => {
  expect(LINES.length).toBeGreaterThan(30);
});

test.each(LINES)('$what: its test exists', ({ file, title }) => {
  expect(existsSync(new URL(`../${file}.test.ts`, import.meta.url))).toBe(true);
  const titles = [...read(`../${file}.test.ts`).matchAll(TITLE)].map(([, , text]) => text);
  expect(titles).toContain(title);
});

/** The first text of a test or of a group of them, also behind a table. */
const TITLE = /(?:^|\W)(?:test|it|describe)(?:\(|\.each\([\s\S]*?\)\()\s*(['"`])((?:(?!\1).)*)\1/g;
