import { describe, expect, it } from 'vitest';
import { nameOf } from '../../../src/domain/hooks.ts';

describe('the name of a hook', () => {
  const command = (command: string) => nameOf({ kind: 'command', command, folder: '/', timeout: 1 });
  const call = (url: string) => nameOf({ kind: 'http', url, headers: {}, timeout: 1 });
  /** How a config names a variable. */
  const variable = '$' + '{CHAT_URL}';

  it('is its command, or the first line of it', () => {
    expect(command('./check.sh --all')).toBe('./check.sh --all');
    expect(command('set -e\n./check.sh\n')).toBe('set -e …');
  });

  it('is its address without query, fragment and credentials, and with variables unread', () => {
    expect(call('https://ci.example.com/done?token=x#y')).toBe('POST https://ci.example.com/done');
    expect(call('https://me:pw@ci.example.com/a@b')).toBe('POST https://ci.example.com/a@b');
    expect(call(`${variable}?token=x`)).toBe(`POST ${variable}`);
  });
});
