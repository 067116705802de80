import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';

const BASE = `
service: shop
listen: 8080
guest: {profile: linux, kernel: vmlinux}
`;

function config(rest: string) {
  return parseConfig('unideploy.yaml', `${BASE}${rest}`);
}

describe('data volumes in the config', () => {
  it('have defaults', () => {
    expect(config('data: [{name: journal, size: 1G}]').data).toEqual([
      {
        ...{ name: 'journal', size: 1 << 30, filesystem: 'ext4', snapshot: 'never', keep: 5 },
        ...{ freeze: null, thaw: null },
      },
    ]);
    expect(config('').data).toEqual([]);
  });

  it.each([
    ['replicas: 2\ndata: [{name: a, size: 1G}]', /replicas is 2 with data volumes, expected 1/],
    ['rollout: {strategy: rolling}\ndata: [{name: a, size: 1G}]', /expected auto, volume-swap or recreate/],
    ['rollout: {strategy: canary}\ndata: [{name: a, size: 1G}]', /has two instances run at once/],
    ['data: [{name: a, size: 1G}, {name: a, size: 2G}]', /has the name "a" of data\[0\]/],
    ['data: [{name: a, size: 1G, freeze: /f}]', /only one of freeze and thaw/],
    ['data: [{name: a, size: 1G}]\nsupervision: {treatments: {hung: freeze}}', /would keep the disk/],
    ['data: [{name: a, size: 1M}]', /expected a size from 16M/],
  ])('are refused: %s', (rest, why) => {
    expect(() => config(rest)).toThrow(why);
  });
});
