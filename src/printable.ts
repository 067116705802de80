/** What moves a cursor, begins a command of a terminal, ends a line or turns its direction around. */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Cs}]/gu;

/**
 * A text of others (a key of a config, a guest's console, somebody's name) as one line that is safe to show: line ends and
 * tabs become blanks, anything else that a terminal would obey is written out, `\x1b` say.
 */
export function printable(text: string): string {
  return text.replaceAll(/[ \t]*[\r\n\t]+[ \t]*/g, ' ').replaceAll(UNSAFE, written);
}

function written(character: string): string {
  const code = character.charCodeAt(0);
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, '0')}`
    : `\\u${code.toString(16).padStart(4, '0')}`;
}
