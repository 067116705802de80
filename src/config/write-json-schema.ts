import { writeFile } from 'node:fs/promises';
import { argv, exit, stderr } from 'node:process';
import { jsonSchemaText } from './json-schema.ts';

const out = argv[2];
if (out === undefined) {
  stderr.write('usage: write-json-schema OUT\n');
  exit(2);
}
await writeFile(out, jsonSchemaText());
