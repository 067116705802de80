import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { initialConfig } from '../../../src/config/template.ts';

describe('a new config', () => {
  it('is valid and keeps to ten lines of YAML', () => {
    const text = initialConfig({ service: 'site' });
    expect(parseConfig('unideploy.yaml', text)).toMatchObject({ service: 'site', replicas: 2 });
    expect(
      text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length,
    ).toBeLessThanOrEqual(10);
  });

  it('quotes a folder that YAML would read as something else', () => {
    for (const source of ['a: b', '# x', 'true', '007', './my site', '*x', "it's"]) {
      const { volumes } = parseConfig('unideploy.yaml', initialConfig({ service: 'site', source }));
      expect(volumes[0]?.content).toMatchObject({ folder: { written: source } });
    }
  });

  it('names a schema only where one is known', () => {
    expect(initialConfig({ service: 'site' })).not.toContain('$schema');
    expect(initialConfig({ service: 'site', schema: 'a/schema.json' })).toMatch(
      /^# yaml-language-server: \$schema=a\/schema\.json\n/,
    );
  });
});
