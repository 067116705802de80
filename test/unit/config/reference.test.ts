import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { jsonSchema, jsonSchemaText, type SchemaNode } from '../../../src/config/json-schema.ts';
import { allKeys } from '../../../src/config/known-keys.ts';
import { parseConfig } from '../../../src/config/load.ts';

const ROOT = join(import.meta.dirname, '../../..');
const doc = await readFile(join(ROOT, 'docs/configuration.md'), 'utf8');

describe('the reference of the keys', () => {
  it('has every key of the schema and no other', () => {
    const documented = [...doc.matchAll(/^\| `([\w.[\]*-]+)` \|/gm)].map(([, key]) => key ?? '');
    const profiles = ['linux', 'nanos', 'custom'];
    const known = new Set(allKeys(jsonSchema(), '').map(written));
    expect(documented.filter((key) => !profiles.includes(key)).sort()).toEqual([...known].sort());
  });

  it('gives the defaults of the schema', () => {
    const rows = new Map(
      [...doc.matchAll(/^\| `([\w.[\]*-]+)` \| `([^`]*)` \|/gm)].map(([, key, value]) => [key, value]),
    );
    for (const [key, value] of scalarDefaults(jsonSchema(), ''))
      expect([key, rows.get(written(key))]).toEqual([key, value]);
  });

  it('has examples that are valid', () => {
    const examples = [...doc.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text]) => text ?? '');
    expect(examples).toHaveLength(4);
    for (const example of examples) expect(parseConfig('unideploy.yaml', example).service).not.toBe('');
  });
});

describe('the JSON Schema', () => {
  it('is the one that is committed', async () => {
    expect(await readFile(join(ROOT, 'schema/unideploy.schema.json'), 'utf8')).toBe(jsonSchemaText());
  });

  it('describes every key', () => {
    const bare = allNodes(jsonSchema(), '').filter(
      ([path, node]) => path !== '' && node.description === undefined,
    );
    expect(bare.map(([path]) => path)).toEqual([]);
  });
});

/** The form a key has in the reference: a hook is the same at every point. */
function written(key: string): string {
  return key.replace(/^(rollout\.hooks\.)[\w-]+(\[\].*)/, '$1*$2');
}

function scalarDefaults(node: SchemaNode, prefix: string): [string, string][] {
  return allNodes(node, prefix).flatMap(([path, { default: value }]): [string, string][] =>
    typeof value === 'string' || typeof value === 'number' ? [[path, `${value}`]] : [],
  );
}

function allNodes(node: SchemaNode, path: string): [string, SchemaNode][] {
  const below = [node, ...(node.anyOf ?? [])].flatMap(({ properties, items }) => [
    ...Object.entries(properties ?? {}).flatMap(([key, child]) =>
      allNodes(child, path === '' ? key : `${path}.${key}`),
    ),
    ...Object.entries(items?.properties ?? {}).flatMap(([key, child]) => allNodes(child, `${path}[].${key}`)),
  ]);
  return [[path, node], ...below];
}
