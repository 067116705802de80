import { readFileSync } from 'node:fs';

/** The package's version; package.json stands two folders above the compiled file, one above the source. */
export const VERSION: string = read(['../package.json', '../../package.json']);

function read(places: string[]): string {
  for (const place of places) {
    try {
      const text = readFileSync(new URL(place, import.meta.url), 'utf8');
      return (JSON.parse(text) as { version: string }).version;
    } catch {
      // Not there: the other layout.
    }
  }
  return 'unknown';
}
