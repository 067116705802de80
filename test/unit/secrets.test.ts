import { describe, expect, test } from 'vitest';
import { environmentFor } from '../../src/environment.ts';
import { Secrets } from '../../src/secrets.ts';
import { sqliteStore } from '../../src/store/sqlite.ts';
import { veiledStore } from '../../src/store/veiled.ts';
import { goalOf, rollout as someRollout } from '../support/revisions.ts';

describe('what is secret is veiled', () => {
  const env = {
    GH_TOKEN: 'abcdef-token',
    SIGNING_KEY: 'first line of it\nsecond line of it',
    DB_PASSWORD: 'short',
    CHAT: 'https://chat.example/T0/B1/xyz',
    PLAIN: 'something-else',
  };

  test.each([
    ['the value of a variable that is called a secret', 'got abcdef-token.', 'got ***.'],
    ['a line of a key', '> second line of it <', '> *** <'],
    ['nothing short', 'short', 'short'],
    ['nothing that nobody called a secret', 'something-else', 'something-else'],
    ['an authorization header', '{"authorization": "Basic YWxhOmJhbGE="}', '{"authorization": "Basic ***"}'],
    ['a bearer token', 'sent Bearer eyJhbGciOi.x-y_z', 'sent Bearer ***'],
    ['a password in an address', 'http://ana:pa55@host/x', 'http://ana:***@host/x'],
    ['a token of ours, but for whose it is', `udt_0123456789ab_${'s'.repeat(43)}`, 'udt_0123456789ab_***'],
  ])('%s', (_, said, shown) => {
    expect(new Secrets(env).veil(said)).toBe(shown);
  });

  test('what a config names is secret from then on', () => {
    const secrets = new Secrets(env);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how a config names a variable.
    secrets.addNamed('${CHAT}', 'x ${NOT_THERE}');
    expect(secrets.veil(`posted to ${env.CHAT}: 404`)).toBe('posted to ***: 404');
  });

  test('in every text of a value, however deep', () => {
    const veiled = new Secrets(env).veilAll({ a: ['abcdef-token', { b: 'x abcdef-token' }], n: 1, z: null });
    expect(veiled).toEqual({ a: ['***', { b: 'x ***' }], n: 1, z: null });
  });
});

test('the journal is veiled before it is stored, and a policy keeps the names of its variables', () => {
  const plain = sqliteStore(':memory:');
  const store = veiledStore(plain, new Secrets({ CHAT: 'https://chat.example/T0/B1/xyz' }));
  const rollout = someRollout(1, goalOf(null, 0), goalOf(1, 1));
  // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how a config names a variable.
  const hook = { kind: 'http', url: '${CHAT}', headers: {}, timeout: 1 } as const;
  const { id: _, ...fresh } = {
    ...rollout,
    policy: { ...rollout.policy, hooks: { ...rollout.policy.hooks, 'pre-rollout': [hook] } },
  };
  const opened = store.openRollout(fresh);
  expect(opened.policy.hooks['pre-rollout']).toEqual([hook]);
  const reason = {
    code: 'UD_HOOK_FAILED',
    message: 'https://chat.example/T0/B1/xyz said no',
    next: '',
  } as const;
  const evidence = { instance: 'i', lastAnswer: null, answers: [], console: ['Bearer 0123456789'] };
  const ended = { ...opened, state: 'failed' as const, endedAt: 1, reason };
  store.closeRollout(
    ended,
    { event: 'rollout-finished', verdict: 'failed', reason, ms: 1, evidence, verified: false },
    'pool',
  );
  const kept = JSON.stringify([plain.journal(opened.id, 0), plain.rollout(opened.id)?.reason]);
  expect(kept).not.toContain('T0/B1');
  expect(kept).not.toContain('0123456789');
  expect(kept).toContain('*** said no');
});

describe('the environment of a command', () => {
  const env = { PATH: '/bin', HOME: '/root', LC_ALL: 'C', GH_TOKEN: 't', OTHER: 'o', UNIDEPLOY_TOKEN: 'u' };

  test('has what every program needs, and what is added', () => {
    expect(environmentFor('./x', { UNIDEPLOY_HOOK: 'pre-build' }, env)).toEqual({
      PATH: '/bin',
      HOME: '/root',
      LC_ALL: 'C',
      UNIDEPLOY_HOOK: 'pre-build',
    });
  });

  test.each(['TOKEN=$GH_TOKEN ./x', `echo "$\{GH_TOKEN:-none}"`, '[ -n "$OTHER$GH_TOKEN" ]'])(
    'has what the command names: %s',
    (command) => {
      expect(environmentFor(command, {}, env)).toHaveProperty('GH_TOKEN', 't');
      expect(environmentFor(command, {}, env)).not.toHaveProperty('UNIDEPLOY_TOKEN');
    },
  );
});
