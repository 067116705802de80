import { distance } from 'fastest-levenshtein';
import { jsonSchema, type SchemaNode } from './json-schema.ts';
import type { KeyPath } from './positions.ts';
import { quoted } from './quoted.ts';

/** What to say about a key nobody knows: the nearest known one there, the place it belongs to, or all known ones. */
export function unknownKey(parent: KeyPath, key: string): string {
  const schema = jsonSchema();
  const known = keysAt(schema, parent);
  const [nearest] = known
    .map((candidate) => ({ candidate, far: distance(key, candidate) }))
    .filter(
      ({ candidate, far }) => far <= Math.max(1, Math.floor(Math.min(key.length, candidate.length) / 3)),
    )
    .sort((a, b) => a.far - b.far);
  if (nearest) return `unknown key ${quoted(key)}, did you mean "${nearest.candidate}"?`;
  const elsewhere = allKeys(schema, '').find((path) => path.endsWith(`.${key}`));
  if (elsewhere) return `unknown key ${quoted(key)} here, did you mean "${elsewhere}"?`;
  return `unknown key ${quoted(key)}, expected one of ${known.join(', ')}`;
}

/** Every key of the file in the form `guest.kernel`, `volumes[].name`. */
export function allKeys(node: SchemaNode, prefix: string): string[] {
  return alternatives(node).flatMap((one) => [
    ...Object.entries(one.properties ?? {}).flatMap(([key, child]) => {
      const path = prefix === '' ? key : `${prefix}.${key}`;
      return [path, ...allKeys(child, path)];
    }),
    ...(one.items ? allKeys(one.items, `${prefix}[]`) : []),
  ]);
}

function keysAt(schema: SchemaNode, parent: KeyPath): string[] {
  let nodes = alternatives(schema);
  for (const segment of parent) {
    nodes = nodes
      .map((node) => (typeof segment === 'number' ? node.items : node.properties?.[segment]))
      .filter((node) => node !== undefined)
      .flatMap(alternatives);
  }
  return nodes.flatMap((node) => Object.keys(node.properties ?? {}));
}

function alternatives(node: SchemaNode): SchemaNode[] {
  return node.anyOf ? node.anyOf.flatMap(alternatives) : [node];
}
