import type { Subject } from './port.ts';

/** Fills in `{{service}}`, `{{revision}}` and `{{stable}}` (empty where nothing ran before). */
export function filledIn(text: string, { service, revision, stable }: Omit<Subject, 'rollout'>): string {
  return text
    .replaceAll('{{service}}', service)
    .replaceAll('{{revision}}', `${revision}`)
    .replaceAll('{{stable}}', `${stable ?? ''}`);
}

/** Reads `${NAME}` in headers from the environment, at the last moment. Rejects names that it does not have. */
export function withSecrets(
  headers: Record<string, string>,
  env: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  const filled = Object.entries(headers).map(([header, text]) => [
    header,
    text.replaceAll(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, name: string) => {
      const value = env[name];
      if (value === undefined) throw new Error(`the controller's environment has no ${name}`);
      return value;
    }),
  ]);
  return Object.fromEntries(filled);
}
