/** What `unideploy init` knows about the new service. */
export interface InitialConfig {
  service: string;
  /** folder to pack as the code volume */
  source?: string;
  kernel?: string;
  initrd?: string;
  /** URL of the JSON Schema, or its path seen from the new file; left out where neither is known to be right */
  schema?: string;
}

/** The text of a new `unideploy.yaml`: the simple case, ready to be read by people. */
export function initialConfig({ service, source, kernel, initrd, schema }: InitialConfig): string {
  return [
    ...(schema === undefined ? [] : [`# yaml-language-server: $schema=${schema}`]),
    '# Every key and its default, also of health, rollout and proxy: docs/configuration.md',
    `service: ${service}`,
    'replicas: 2',
    'listen: 8080',
    'guest:',
    '  profile: linux',
    `  kernel: ${scalar(kernel ?? 'vmlinux')}`,
    `  initrd: ${scalar(initrd ?? 'initrd.img')}`,
    'volumes:',
    `  - source: ${scalar(source ?? './public')}`,
    '',
  ].join('\n');
}

/** Plain where YAML reads it back as the same text, quoted otherwise. */
function scalar(text: string): string {
  return /^[./]*[A-Za-z_][\w./-]*$/.test(text) && !/^(true|false|null)$/i.test(text)
    ? text
    : JSON.stringify(text);
}
