import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { ConfigError, problemLine } from '../../../src/config/problems.ts';
import { rolloutPolicy } from '../../../src/daemon/policy-message.ts';
import { NO_GATES } from '../../../src/domain/policy.ts';

const SERVICE = 'service: a\nlisten: 1\nguest: {profile: linux, kernel: k}\n';

const rolloutOf = (text: string) => parseConfig('app/unideploy.yaml', SERVICE + text).rollout;

/** The problems of `rollout: {…}` on line 4, without the name of the file. */
function problems(body: string): string[] {
  try {
    rolloutOf(`rollout: {${body}}\n`);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => problemLine(problem).replace('app/unideploy.yaml:', ''));
  }
  return [];
}

describe('a service without rollout', () => {
  it('moves by itself: no gate, no hook, and a deadline for getting on and for the whole', () => {
    expect(rolloutOf('')).toEqual({
      ...NO_GATES,
      strategy: 'auto',
      maxSurge: 1,
      maxUnavailable: 0,
      parallel: 'auto',
      keep: 10,
      drain: 30_000,
      stop: 10_000,
      verify: 30_000,
      progressDeadline: 120_000,
      deadline: 1_800_000,
    });
  });
});

describe('rollout', () => {
  const FULL = `
rollout:
  strategy: canary
  maxSurge: 25%
  batchWait: 5s
  minHealthy: 3s
  canary:
    steps:
      - {weight: 5%, pause: 1m, analysis: true}
      - {weight: 20%}
      - {weight: 99%, pause: manual}
  analysis:
    count: 2
    metrics: [{figure: error-rate, max: 2%}]
  bake: 2m
  warm: 10m
  gateTimeout: {after: 1h, action: promote}
  progressDeadline: 90s
  hooks:
    pre-build: ./lint.sh
    pre-cutover: [./check.sh --all, {command: ./slow.sh, timeout: 5m}]
    post-rollout:
      - {url: "https://ci.example.com/done?x=1", headers: {Authorization: "Bearer \${CI_TOKEN}"}, timeout: 3s}
    on-rollback: [{url: "\${PAGER_URL}"}]
`;

  it('says all that the controller is told, and the controller understands it', () => {
    const rollout = rolloutOf(FULL);
    expect(rollout).toMatchObject({
      strategy: 'canary',
      batchWait: 5000,
      minHealthy: 3000,
      steps: [
        { weight: 5, pause: 60_000, analysis: true },
        { weight: 20, pause: 0, analysis: false },
        { weight: 99, pause: null, analysis: false },
      ],
      analysis: { count: 2, metrics: [{ name: 'error-rate', pass: { max: 0.02 } }] },
      bake: 120_000,
      warm: 600_000,
      gateTimeout: { after: 3_600_000, action: 'promote' },
      progressDeadline: 90_000,
    });
    expect(rolloutPolicy.parse(rollout)).toEqual(rollout);
  });

  it('has hooks of every form, commands in the folder of the file and variables unread', () => {
    const folder = resolve('app');
    const command = (command: string, timeout = 60_000) => ({ kind: 'command', command, folder, timeout });
    expect(rolloutOf(FULL).hooks).toEqual({
      ...NO_GATES.hooks,
      'pre-build': [command('./lint.sh')],
      'pre-cutover': [command('./check.sh --all'), command('./slow.sh', 300_000)],
      'post-rollout': [
        {
          kind: 'http',
          url: 'https://ci.example.com/done?x=1',
          // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how a config names a variable.
          headers: { Authorization: 'Bearer ${CI_TOKEN}' },
          timeout: 3000,
        },
      ],
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the same.
      'on-rollback': [{ kind: 'http', url: '${PAGER_URL}', headers: {}, timeout: 60_000 }],
    });
  });

  it.each(['./mine.mjs', '../shared/mine.mjs', '/opt/mine.mjs'])(
    'takes a strategy of your own by its path %s',
    (written) => {
      expect(rolloutOf(`rollout: {strategy: ${written}, promotion: manual, warm: 1m}\n`).strategy).toEqual({
        path: resolve('app', written),
        written,
        where: 'app/unideploy.yaml:4:21',
      });
    },
  );

  it.each([
    ['auto', 0],
    ['manual', null],
    ['15m', 900_000],
  ])('cuts blue-green over with promotion %s', (promotion, expected) => {
    const { promotion: found } = rolloutOf(`rollout: {strategy: blue-green, promotion: ${promotion}}\n`);
    expect(found).toBe(expected);
  });

  it.each([
    ['health: {deadline: 10m}', 660_000],
    ['health: {deadline: 10m}\nrollout: {minHealthy: 1m}', 720_000],
    ['rollout: {drain: 1h, verify: 1m}', 3_720_000],
    ['rollout: {drain: 24h}', 86_400_000],
  ])(
    'lets a rollout with %j stand still for as long as one action may take, and a minute',
    (text, expected) => {
      expect(rolloutOf(`${text}\n`).progressDeadline).toBe(expected);
    },
  );
});

describe('a wrong rollout', () => {
  it.each([
    [
      'strategy: bluegreen',
      '4:21: rollout.strategy is "bluegreen", expected auto, rolling, blue-green, canary, volume-swap, recreate, or the path of a module',
    ],
    [
      'promotion: later',
      '4:22: rollout.promotion is "later", expected auto, manual or a duration of at most 24h',
    ],
    ['bake: 5', '4:17: rollout.bake is 5, expected a duration with its unit such as 0s, 30s or 15m'],
    ['bake: 25h', '4:17: rollout.bake is "25h", expected a duration of at most 24h'],
    [
      'gateTimeout: {action: abort}',
      '4:33: rollout.gateTimeout.action is "abort", expected rollback or promote',
    ],
    ['canary: {steps: []}', '4:27: rollout.canary.steps is a list, expected a list of 1 to 20 steps'],
    [
      'canary: {steps: [{weight: 100%}]}',
      '4:37: rollout.canary.steps[0].weight is "100%", expected a percentage from 1% to 99%',
    ],
    [
      'canary: {steps: [{weight: 10%, pause: soon}]}',
      '4:49: rollout.canary.steps[0].pause is "soon", expected manual or a duration',
    ],
    ['hooks: {precutover: ./x}', '4:19: unknown key "precutover", did you mean "pre-cutover"?'],
    ['hooks: {pre-cutover: [{cmd: ./x}]}', '4:34: unknown key "cmd", expected one of command, url, headers'],
    [
      'hooks: {pre-build: 5}',
      '4:30: rollout.hooks.pre-build is 5, expected a shell command, or a list of hooks',
    ],
    [
      'hooks: {pre-build: [{url: "ftp://a"}]}',
      '4:37: rollout.hooks.pre-build[0].url is "ftp://a", expected a URL that starts with http:// or https://',
    ],
    ['hooks: {pre-build: [{url: "https://me:pw@a/"}]}', 'has no user or password'],
    [
      'hooks: {pre-build: [{url: "https://a", headers: {x: "$' + '{A-B}"}}]}',
      'expected one line of printable characters; $' + '{NAME} stands for a variable',
    ],
  ])('of {%s} is reported where it stands', (body, expected) => {
    expect(problems(body)).toEqual([expect.stringContaining(expected)]);
  });

  it.each([
    ['maxSurge: 0', '4:11: rollout.maxSurge and rollout.maxUnavailable are both 0'],
    ['maxSurge: 0%, maxUnavailable: 0%', '4:11: rollout.maxSurge and rollout.maxUnavailable are both 0'],
    ['strategy: volume-swap', '4:11: rollout.strategy is volume-swap, expected volumes to swap'],
    [
      'strategy: recreate, maxSurge: 2',
      '4:31: rollout.maxSurge is 2 with strategy recreate, expected it left out',
    ],
    [
      'strategy: rolling, promotion: manual',
      '4:30: rollout.promotion is given with strategy rolling, expected it only with blue-green',
    ],
    [
      'promotion: 5m',
      '4:11: rollout.promotion is given with strategy auto, expected it only with blue-green',
    ],
    [
      'warm: 5m',
      '4:11: rollout.warm is given with strategy auto, expected it only with blue-green or canary',
    ],
    [
      'canary: {steps: [{weight: 20%}, {weight: 20%}]}',
      '4:44: rollout.canary.steps[1].weight is 20%, expected more than the 20% of the step before',
    ],
    [
      'progressDeadline: 60s',
      '4:11: rollout.progressDeadline is 60s, expected more than the 60s that one action may take',
    ],
    [
      'hooks: {pre-build: [{timeout: 5s}]}',
      '4:31: rollout.hooks.pre-build[0] does nothing, expected a command or a url',
    ],
    [
      'hooks: {pre-build: [{command: a, url: "http://a"}]}',
      '4:44: rollout.hooks.pre-build[0] has both command and url, expected one of them',
    ],
    [
      'hooks: {pre-build: [{command: a, headers: {x: y}}]}',
      '4:44: rollout.hooks.pre-build[0] has headers with a command, expected them only with url',
    ],
    [
      'canary: {steps: [{weight: 10%, analysis: true}]}',
      '4:42: rollout.canary.steps[0].analysis is true, expected rollout.analysis to say what is measured',
    ],
  ])('of {%s} breaks a rule over several keys', (body, expected) => {
    expect(problems(body)).toEqual([expect.stringContaining(expected)]);
  });
});
