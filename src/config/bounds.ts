import { CST, Lexer } from 'yaml';

/** Bytes of a config: the parser takes the square of the time for twice as many keys. */
const LARGEST = 64 * 1024;
/** Levels of brackets, or of dashes in one line, and columns of indentation. */
const DEEPEST = 32;
const WIDEST_INDENT = 200;
/** Each is looked up in the whole file, and aliases of aliases multiply. */
const MOST_ALIASES = 100;

/**
 * Where a text is larger or deeper than any config, and why; null where it is not. Asked before it is parsed: the parser
 * calls itself for each level, and V8 ends the process, uncatchably, where a regular expression is compiled at the end of
 * the stack.
 */
export function excess(text: string): { offset: number; message: string } | null {
  if (Buffer.byteLength(text) > LARGEST)
    return { offset: 0, message: `the file is too large, expected at most ${LARGEST / 1024} KiB` };
  let offset = 0;
  let brackets = 0;
  let dashes = 0;
  let aliases = 0;
  let isLineStart = true;
  for (const token of new Lexer().lex(text)) {
    const type = CST.tokenType(token);
    if (type === 'newline') dashes = 0;
    else if (type === 'flow-map-start' || type === 'flow-seq-start') brackets += 1;
    else if (type === 'flow-map-end' || type === 'flow-seq-end') brackets = Math.max(0, brackets - 1);
    else if (type === 'seq-item-ind' || type === 'explicit-key-ind') dashes += 1;
    // The value of an implicit key is no level of a flow; `: : :` is one of a block.
    else if (type === 'map-value-ind' && brackets === 0) dashes += 1;
    else if (type === 'alias') aliases += 1;
    if (aliases > MOST_ALIASES)
      return { offset, message: `too many aliases, expected at most ${MOST_ALIASES}` };
    const indent = type === 'space' && isLineStart && brackets === 0 ? token.length : 0;
    if (brackets + dashes > DEEPEST || indent > WIDEST_INDENT)
      return { offset, message: 'nested too deeply, expected no such depth in a config' };
    isLineStart = type === 'newline';
    if (!MARKS.has(type)) offset += token.length;
  }
  return null;
}

/** Tokens of the lexer's own, which are not in the text. */
const MARKS: ReadonlySet<string | null> = new Set(['doc-mode', 'flow-error-end', 'scalar']);
