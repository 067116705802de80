import { describe, expect, it } from 'vitest';
import { UnideployError } from '../../src/errors.ts';
import { printable } from '../../src/printable.ts';

describe('what others have written', () => {
  it.each([
    ['one line', 'one line'],
    ['Größe → 😀', 'Größe → 😀'],
    ['two \r\n lines\tand a tab', 'two lines and a tab'],
    ['\u001b[2Jgone', '\\x1b[2Jgone'],
    ['\u009b31mred', '\\x9b31mred'],
    ['txt.\u202egnp', 'txt.\\u202egnp'],
    ['half \ud800', 'half \\ud800'],
    ['\0\u0007', '\\x00\\x07'],
  ])('is shown in one line, with nothing that a terminal obeys: %j', (text, shown) => {
    expect(printable(text)).toBe(shown);
  });

  it('is so in every error', () => {
    const { message, next } = new UnideployError('UD_USAGE', 'no\n\u001b[2J', 'do\rthis');
    expect([message, next]).toEqual(['no \\x1b[2J', 'do this']);
  });
});
