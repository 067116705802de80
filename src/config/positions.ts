import { type Document, isAlias, isMap, isScalar, isSeq, type LineCounter, type Node } from 'yaml';

export type KeyPath = readonly (string | number)[];

/** A place in a file; line and column count from 1. */
export interface Position {
  file: string;
  line: number;
  column: number;
}

/** What was parsed, with all that is needed to say where something stands. */
export interface ParsedFile {
  file: string;
  document: Document.Parsed;
  lines: LineCounter;
}

/** Where a key (or its value) stands; the nearest key above it where it is not in the file. */
export function locate(parsed: ParsedFile, path: KeyPath, part: 'key' | 'value' = 'key'): Position {
  let key: Node | null = null;
  let value: Node | null = parsed.document.contents;
  for (const segment of path) {
    const child = childOf(parsed.document, value, segment);
    if (child === null) return offsetPosition(parsed, start(key ?? value));
    key = child.key ?? key;
    value = child.value;
  }
  const last = typeof path.at(-1) === 'number' ? value : part === 'key' ? key : value;
  return offsetPosition(parsed, start(last ?? key ?? value));
}

/** The form a place takes in messages: `file:line:column`. */
export function place({ file, line, column }: Position): string {
  return `${file}:${line}:${column}`;
}

export function offsetPosition({ file, lines }: ParsedFile, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  // An empty file has no line at all.
  return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
}

interface Child {
  key: Node | null;
  value: Node | null;
}

function childOf(document: Document.Parsed, parent: Node | null, segment: string | number): Child | null {
  const node = isAlias(parent) ? parent.resolve(document) : parent;
  if (isMap<Node, Node | null>(node)) {
    const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(segment));
    return pair ? { key: pair.key, value: pair.value } : null;
  }
  if (isSeq<Node>(node) && typeof segment === 'number') {
    const item = node.items[segment];
    return item ? { key: null, value: item } : null;
  }
  return null;
}

function start(node: Node | null): number {
  return node?.range?.[0] ?? 0;
}
