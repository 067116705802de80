import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { ConfigError, problemLine } from '../../../src/config/problems.ts';
import { supervisionPolicy } from '../../../src/daemon/supervision-message.ts';
import { DEFAULT_SUPERVISION } from '../../../src/domain/supervision.ts';

const SERVICE = 'service: a\nlisten: 1\nguest: {profile: linux, kernel: k}\n';

const supervisionOf = (text: string) => parseConfig('app/unideploy.yaml', SERVICE + text).supervision;

/** The problems of `supervision: {…}` on line 4, without the name of the file. */
function problems(body: string): string[] {
  try {
    supervisionOf(`supervision: {${body}}\n`);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => problemLine(problem).replace('app/unideploy.yaml:', ''));
  }
  return [];
}

describe('supervision', () => {
  it('is, left out, as it is for services of earlier versions', () => {
    const { treatments, ...rest } = supervisionOf('');
    expect(rest).toEqual({ ...DEFAULT_SUPERVISION, treatments: undefined });
    expect(new Set(Object.values(treatments))).toEqual(new Set(['replace']));
  });

  it('says for each cause what is done, and the controller takes it as it is', () => {
    const policy = supervisionOf(
      'supervision: {treatments: {hung: freeze, dead: restart}, memory: {floor: 10%, horizon: 1m}, limits: {repairs: 2, window: 1m, backoff: 0s}, dump: 1G, console: [my app fell]}\n',
    );
    expect(policy).toMatchObject({
      treatments: { hung: 'freeze', dead: 'restart', erring: 'replace' },
      memory: { floor: 10, horizon: 60_000 },
      limits: { repairs: 2, window: 60_000, backoff: 0 },
      dump: 1024,
      console: ['my app fell'],
    });
    expect(supervisionPolicy.parse(policy)).toEqual(policy);
    expect(supervisionPolicy.parse(DEFAULT_SUPERVISION)).toEqual(DEFAULT_SUPERVISION);
  });

  it('may leave memory, dumps, or everything alone', () => {
    expect(
      supervisionOf('supervision: {memory: false, errors: false, dump: false, enabled: false}\n'),
    ).toMatchObject({
      memory: null,
      errors: null,
      dump: 0,
      enabled: false,
    });
  });

  it.each([
    [
      'treatments: {hung: shoot}',
      '4:34: supervision.treatments.hung is "shoot", expected replace, restart or freeze',
    ],
    [
      'limits: {window: 1s, backoff: 2s}',
      '4:36: supervision.limits.backoff is 2s, expected less than the 1s of supervision.limits.window',
    ],
    [
      'memory: {horizon: 500ms}',
      '4:24: supervision.memory.horizon is 0.5s, expected at least the 1s of health.interval',
    ],
    ['errors: 0%', '4:23: supervision.errors is "0%", expected false, or a percentage from 1% to 99%'],
    ['dump: 64M', '4:15: supervision.dump is 64M, expected at least the 128M of memory that one guest has'],
    ['memory: yes', '4:23: supervision.memory is "yes", expected false, or a map of floor and horizon'],
    [
      'console: [ab]',
      '4:25: supervision.console[0] is "ab", expected a text of 4 to 200 characters as it stands on the console',
    ],
  ])('%s', (body, problem) => {
    expect(problems(body)).toEqual([problem]);
  });
});
