import fc from 'fast-check';

/** What has broken a parser somewhere. */
const WORDS = [
  ...[
    '\0',
    '\r',
    '\n',
    '\t',
    ' ',
    '\u001b[2J',
    '\u0085',
    '\u2028',
    '\u202e',
    '\ufeff',
    '\ud800',
    '\u{1f600}',
  ],
  ...[
    '{',
    '}',
    '[',
    ']',
    '"',
    "'",
    '\\',
    ':',
    ',',
    '-',
    '|',
    '>',
    '&a ',
    '*a',
    '!!binary ',
    '<<: ',
    '#',
    '%',
  ],
  ...['-1', '1e999', '0x7fffffffffffffff', '18446744073709551616', '.nan', 'NaN', 'null', 'true', '~'],
  ...['__proto__', 'constructor', 'prototype', 'toString', '../../etc/passwd', 'x'.repeat(5_000)],
];

/** One of these texts with up to six places put wrong. */
export function mutated(texts: readonly string[], words: readonly string[] = WORDS): fc.Arbitrary<string> {
  const edit = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.nat(12),
    kind: fc.constantFrom('cut', 'put', 'instead', 'twice', 'end'),
    word: fc.oneof(fc.constantFrom(...words), fc.string({ unit: 'binary', maxLength: 8 })),
  });
  return fc
    .tuple(fc.constantFrom(...texts), fc.array(edit, { minLength: 1, maxLength: 6 }))
    .map(([text, edits]) =>
      edits.reduce((before, { at, length, kind, word }) => {
        const place = Math.floor(at * before.length);
        const [left, cut, right] = [
          before.slice(0, place),
          before.slice(place, place + length),
          before.slice(place + length),
        ];
        return left + { cut: '', put: word + cut, instead: word, twice: cut + cut, end: null }[kind] + right;
      }, text),
    );
}

/** Values as they stand in a JSON text: of every type, too large, too deep, and no JSON at all. */
const VALUES = [
  ...['null', 'true', 'false', '0', '-1', '0.5', '-0', '1e999', '-1e999', '1152921504606846976', '1e-400'],
  ...['""', '"\\u0000"', '"\\ud800"', '"a\\nb\\u001b[2J"', '"../../../etc/passwd"', '"a b"', '"-x"', '"1"'],
  ...['[]', '{}', '[null]', '[[]]', '{"":""}', '{"__proto__":{"polluted":1}}', '{"toString":1}'],
  ...['{"length":1e9}', `"${'x'.repeat(10_000)}"`, `[${'0,'.repeat(2_000)}0]`],
  `${'['.repeat(3_000)}${']'.repeat(3_000)}`,
  `${'{"a":'.repeat(3_000)}1${'}'.repeat(3_000)}`,
];
const KEYS = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '', '\\u0000', 'a b', '0', 'unknown'];
const BROKEN = ['', '{', ']', 'undefined', 'NaN', '"', '\u0000', '01', "'a'", '{"a":1,}'];

type Path = readonly (string | number)[];
const VALUE = '"@@value@@"';
const KEY = '@@key@@';

/** The JSON text of a value in which some places hold something else, or are not there, or have another name. */
export function mutatedJson(base: unknown): fc.Arbitrary<string> {
  const paths = pathsOf(base);
  const edit = fc.record({
    path: fc.constantFrom(...paths),
    kind: fc.constantFrom('value', 'value', 'value', 'key', 'more', 'less', 'broken'),
    value: fc.oneof(
      fc.constantFrom(...VALUES),
      fc.json({ maxDepth: 2 }),
      fc.maxSafeInteger().map(String),
      fc.double().map((n) => JSON.stringify(n)),
    ),
    key: fc.constantFrom(...KEYS),
    broken: fc.constantFrom(...BROKEN),
  });
  return fc.array(edit, { minLength: 1, maxLength: 3 }).map((edits) => {
    const text = edits.reduce((before, { path, kind, value, key, broken }) => {
      const root = parsed(before);
      if (root === undefined) return before;
      const marked = JSON.stringify(edited(root, path, kind)) ?? 'null';
      // `replace` gives `$` a meaning in texts
      return marked.replace(VALUE, () => (kind === 'broken' ? broken : value)).replace(KEY, () => key);
    }, JSON.stringify(base));
    return text;
  });
}

function edited(root: unknown, path: Path, kind: string): unknown {
  const [head, ...rest] = path;
  if (head === undefined) {
    if (kind === 'more' && isMap(root)) return { ...root, [KEY]: '@@value@@' };
    if (kind === 'more' && Array.isArray(root)) return [...root, '@@value@@'];
    return '@@value@@';
  }
  if (Array.isArray(root)) {
    const at = Number(head);
    if (kind === 'less' && rest.length === 0) return root.filter((_, n) => n !== at);
    return root.map((each: unknown, n) => (n === at ? edited(each, rest, kind) : each));
  }
  if (!isMap(root)) return '@@value@@';
  if (rest.length > 0) return { ...root, [head]: edited(root[head], rest, kind) };
  const { [head]: value, ...others } = root;
  if (kind === 'less') return others;
  if (kind === 'key') return { ...others, [KEY]: value };
  return { ...others, [head]: edited(value, [], kind) };
}

function pathsOf(value: unknown, above: Path = []): Path[] {
  const below = Array.isArray(value) ? [...value.keys()] : isMap(value) ? Object.keys(value) : [];
  return [
    above,
    ...below.flatMap((key) => pathsOf((value as Record<string | number, unknown>)[key], [...above, key])),
  ];
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Undefined for what is no JSON any more, and stays as it is. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
