import { z } from 'zod';
import { configSchema } from './schema.ts';

/** The part of JSON Schema that is used here. */
export interface SchemaNode {
  description?: string;
  default?: unknown;
  properties?: Record<string, SchemaNode>;
  items?: SchemaNode;
  anyOf?: SchemaNode[];
  [key: string]: unknown;
}

let made: SchemaNode | undefined;

/** What editors check an `unideploy.yaml` with; made once, for a config may have unknown keys by the thousand. */
export function jsonSchema(): SchemaNode {
  made ??= { title: 'unideploy.yaml', ...(z.toJSONSchema(configSchema, { io: 'input' }) as SchemaNode) };
  return made;
}

/** The text of schema/unideploy.schema.json. */
export function jsonSchemaText(): string {
  return `${JSON.stringify(jsonSchema(), null, 2)}\n`;
}
