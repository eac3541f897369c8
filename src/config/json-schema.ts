import { z } from 'zod';
import { configSchema } from './schema.ts';

/** The JSON Schema (2020-12) of a configuration as it is written, made from the parser's own schema. */
export function configJsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, { io: 'input' });
  return {
    $schema,
    title: 'Wardgate configuration',
    description: 'Paths are relative to the configuration file. Durations are written 30s, 10m, 12h, 7d; sizes 64KiB, 1MiB. Unknown keys are refused.',
    ...schema,
  };
}

/** The schema as the text of its file. */
export function configJsonSchemaText(): string {
  return `${JSON.stringify(configJsonSchema(), null, 2)}\n`;
}
