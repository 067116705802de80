import type { RequestHead } from './headers.ts';

/**
 * Whether a page that is open asks for something, rather than a person for a page. Browsers say it by `Sec-Fetch-Mode`,
 * though only to HTTPS and to the machine itself; elsewhere a page's requests name it, and prefer no HTML.
 */
export function isForPage({ method, lines }: Pick<RequestHead, 'method' | 'lines'>): boolean {
  const mode = valueIn(lines, 'sec-fetch-mode');
  if (mode !== undefined) return mode !== 'navigate';
  if (method !== 'GET' && method !== 'HEAD') return false;
  return valueIn(lines, 'referer') !== undefined && !/^text\/html\b/i.test(valueIn(lines, 'accept') ?? '');
}

function valueIn(lines: string, name: string): string | undefined {
  for (const line of lines.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon === name.length && line.slice(0, colon).toLowerCase() === name)
      return line.slice(colon + 1).trim();
  }
  return undefined;
}
