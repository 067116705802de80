import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { request as plain } from 'node:http';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { describe, expect, onTestFinished, test } from 'vitest';
import { apiServer } from '../../../src/daemon/api.ts';
import { type Scope, scopeOf } from '../../../src/daemon/api-scopes.ts';
import { createToken, holderOf, listTokens, revokeToken } from '../../../src/daemon/api-tokens.ts';
import { openRemoteApi, type RemoteAddress } from '../../../src/daemon/remote-api.ts';
import { openStage, resultOf, type Stage, servingStage } from '../cli/stage.ts';
import { certificate } from '../proxy/suite/certificate.ts';

async function openRemote(stage: Stage) {
  const pair = await certificate('localhost');
  const address: RemoteAddress = {
    listen: { host: '127.0.0.1', port: 0 },
    cert: pair.certificate,
    key: pair.key,
  };
  const logged: string[] = [];
  const parts = { ...stage.apiParts, log: (line: string) => void logged.push(line) };
  const { url, close } = await openRemoteApi(parts, address, stage.paths.tokens);
  onTestFinished(close);
  const origin = url.replace('127.0.0.1', 'localhost');
  const ca = await readFile(pair.certificate, 'utf8');
  const agent = new Agent({ connect: { ca } });
  onTestFinished(() => agent.destroy());
  return {
    origin,
    ca: pair.certificate,
    logged,
    ask: async (path: string, token?: string, more: { method?: 'GET' | 'POST'; body?: string } = {}) => {
      const headers = {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(more.body === undefined ? {} : { 'content-type': 'application/json' }),
      };
      const {
        statusCode,
        body,
        headers: answered,
      } = await request(`${origin}${path}`, {
        dispatcher: agent,
        method: 'GET',
        ...more,
        headers,
      });
      const text = await body.text();
      return { status: statusCode, text, headers: answered };
    },
    token: async (scope: Scope, name = `${scope}-token`) =>
      (await createToken(stage.paths.tokens, { name, scope, expiresAt: null }, Date.now())).text,
  };
}

test('every route says which scope it needs, and one that does not keeps the API from starting', async () => {
  const stage = await openStage();
  const api = await apiServer(stage.apiParts);
  onTestFinished(() => api.close());
  expect(() => api.get('/nobody/has/said', async () => '')).toThrow(/api-scopes/);
  expect(scopeOf('HEAD', '/ping')).toBe('read');
  expect(() => scopeOf('GET', '/nobody/has/said')).toThrow();
});

describe('the API for clients elsewhere', () => {
  test('lets in a token of a scope that covers the route, and nobody else', async () => {
    const stage = await servingStage();
    const remote = await openRemote(stage);
    const read = await remote.token('read');
    expect((await remote.ask('/services', read)).status).toBe(200);
    expect((await remote.ask('/services')).status).toBe(401);
    expect((await remote.ask('/services', `${read.slice(0, -1)}_`)).status).toBe(401);
    expect((await remote.ask('/nowhere')).status).toBe(401);
    const order = { method: 'POST', body: '{"performer":"x"}' } as const;
    expect((await remote.ask('/services/site/pause', read, order)).status).toBe(403);
    const deploy = await remote.token('deploy');
    expect((await remote.ask('/services/site/pause', deploy, order)).text).toContain('UD_NOTHING_OPEN');
    expect((await remote.ask('/proxy/upgrade', deploy, order)).status).toBe(403);
    expect((await remote.ask('/proxy/upgrade', await remote.token('admin'), order)).status).toBe(200);
  });

  test('is not spoken to without TLS', async () => {
    const remote = await openRemote(await openStage());
    const { port } = new URL(remote.origin);
    const outcome = await new Promise((resolve) => {
      plain({ port, host: '127.0.0.1', path: '/ping' }, () => resolve('an answer'))
        .on('error', () => resolve('none'))
        .end();
    });
    expect(outcome).toBe('none');
  });

  test('does not listen to an address that has failed ten times within a minute', async () => {
    const stage = await openStage();
    const remote = await openRemote(stage);
    const read = await remote.token('read');
    const statuses = [];
    for (let attempt = 0; attempt < 12; attempt++)
      statuses.push((await remote.ask('/ping', 'udt_000000000000_x')).status);
    expect(statuses).toEqual([...Array(10).fill(401), 429, 429]);
    const shut = await remote.ask('/ping', read);
    expect(shut.status).toBe(429);
    expect(Number(shut.headers['retry-after'])).toBeGreaterThan(0);
  });

  test('tells neither paths nor what went wrong inside; the log does', async () => {
    const stage = await servingStage();
    const remote = await openRemote(stage);
    const read = await remote.token('read');
    expect((await remote.ask('/ping', read)).text).not.toContain(stage.paths.root);
    stage.apiParts.services.history = () => {
      throw new TypeError(`cannot read ${stage.paths.store}`);
    };
    const answer = await remote.ask('/services/site/history', read);
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain(stage.paths.root);
    expect(answer.text).not.toMatch(/TypeError|\.ts|at /);
    const [, word = 'none'] = /under (\w{8})/.exec(answer.text) ?? [];
    expect(remote.logged.join('\n')).toContain(`error ${word}: TypeError: cannot read`);
  });

  test('a body that is no JSON is the mistake of whoever sent it', async () => {
    const remote = await openRemote(await openStage());
    const body = { method: 'POST', body: '{' } as const;
    const answer = await remote.ask('/services/site/pause', await remote.token('deploy'), body);
    expect([answer.status, JSON.parse(answer.text).error.code]).toEqual([400, 'UD_REQUEST']);
  });
});

describe('a command with --api', () => {
  test('deploys in the name of its token, whatever it says itself', async () => {
    const stage = await servingStage();
    const remote = await openRemote(stage);
    const token = await remote.token('deploy', 'ci-of-shop');
    const env = { UNIDEPLOY_TOKEN: token, UNIDEPLOY_PERFORMER: 'somebody else', UNIDEPLOY_STATE: '/nowhere' };
    const words = ['--api', remote.origin, '--api-ca', remote.ca, '--json'];
    await stage.configure('', 'second');
    const outcome = stage.cli([...words, 'rollout'], env);
    const rollout = await stage.begun();
    expect(rollout.performer).toBe('ci-of-shop');
    stage.finish(rollout, 'succeeded');
    expect(resultOf(await outcome)).toMatchObject({ result: 'succeeded', exitCode: 0 });
    const { stdout } = await stage.cli([...words, 'history'], env);
    expect(stdout).toContain('ci-of-shop');
    expect(stdout).not.toContain('somebody else');
  });

  test('needs the scope admin where the controller would run programs or tell its variables', async () => {
    const stage = await servingStage();
    const remote = await openRemote(stage);
    const words = ['--api', remote.origin, '--api-ca', remote.ca, 'rollout'];
    const deploy = { UNIDEPLOY_TOKEN: await remote.token('deploy') };
    // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how a config names a variable.
    for (const hook of ['"touch /tmp/x"', '[{url: "http://127.0.0.1:1/${DB_PASSWORD}"}]']) {
      await stage.configure(`rollout: {hooks: {pre-rollout: ${hook}}}\n`, 'third');
      const refused = await stage.cli(words, deploy);
      expect([refused.exitCode, refused.stderr]).toEqual([4, expect.stringContaining('UD_FORBIDDEN')]);
    }
    const outcome = stage.cli(words, { UNIDEPLOY_TOKEN: await remote.token('admin') });
    stage.finish(await stage.begun(), 'succeeded');
    expect((await outcome).exitCode).toBe(0);
  });

  test('says what is missing: TLS, a token, a trusted certificate, a controller', async () => {
    const stage = await openStage();
    const remote = await openRemote(stage);
    const ask = async (words: string[], token = '') => {
      const { exitCode, stderr } = await stage.cli([...words, 'status'], { UNIDEPLOY_TOKEN: token });
      return `${exitCode} ${/UD_\w+/.exec(stderr)?.[0]}`;
    };
    expect(await ask(['--api', 'http://localhost:1'], 'x')).toBe('2 UD_USAGE');
    expect(await ask(['--api', remote.origin])).toBe('2 UD_USAGE');
    expect(await ask(['--api', remote.origin], 'x')).toBe('4 UD_TLS');
    expect(await ask(['--api', 'https://localhost:1'], 'x')).toBe('4 UD_CONTROLLER_NOT_RUNNING');
    expect(await ask(['--api', remote.origin, '--api-ca', remote.ca], 'x')).toBe('4 UD_UNAUTHORIZED');
  });
});

test('serve listens to nobody elsewhere without a certificate', async () => {
  const stage = await openStage();
  const bare = await stage.cli(['serve', '--api-listen', '127.0.0.1:0']);
  expect([bare.exitCode, bare.stderr]).toEqual([2, expect.stringContaining('over TLS alone')]);
  const none = ['--api-cert', '/nowhere/cert.pem', '--api-key', '/nowhere/key.pem'];
  await stage.leave();
  const broken = await stage.cli(['serve', '--api-listen', '127.0.0.1:0', ...none]);
  expect([broken.exitCode, broken.stderr]).toEqual([4, expect.stringContaining('UD_TLS')]);
});

describe('a token', () => {
  test('is shown once, and kept as a hash in a file for its user only', async () => {
    const stage = await openStage();
    const words = ['token', 'create', '--scope', 'read', '--name', 'grafana', '--expires', '30d'];
    const { stdout, stderr } = await stage.cli(words);
    const token = stdout.trim();
    expect(token).toMatch(/^udt_[0-9a-f]{12}_[\w-]{43}$/);
    expect(stderr).toContain('not shown again');
    const [file = ''] = await readdir(stage.paths.tokens);
    const path = join(stage.paths.tokens, file);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(stage.paths.tokens)).mode & 0o777).toBe(0o700);
    const secret = token.split('_').slice(2).join('_');
    expect(await readFile(path, 'utf8')).not.toContain(secret);
    const { stdout: list } = await stage.cli(['token', 'list']);
    expect(list).toContain('grafana');
    expect(list).not.toContain(secret);
    expect(await holderOf(stage.paths.tokens, token, Date.now())).toMatchObject({ name: 'grafana' });
    expect((await stage.cli(['token', 'revoke', 'grafana'])).stdout).toBe('grafana is revoked');
    expect(await holderOf(stage.paths.tokens, token, Date.now())).toBe(null);
  });

  test('is of no use when it has expired, is revoked, or its file is torn', async () => {
    const { paths } = await openStage();
    const folder = paths.tokens;
    const make = (name: string, expiresAt: number | null) =>
      createToken(folder, { name, scope: 'read', expiresAt }, 0);
    const brief = await make('brief', 1000);
    expect(await holderOf(folder, brief.text, 999)).toMatchObject({ name: 'brief' });
    expect(await holderOf(folder, brief.text, 1000)).toBe(null);
    const torn = await make('torn', null);
    await writeFile(join(folder, `${torn.token.id}.json`), '{"id":');
    expect(await holderOf(folder, torn.text, 0)).toBe(null);
    const gone = await make('gone', null);
    await revokeToken(folder, 'gone');
    expect(await holderOf(folder, gone.text, 0)).toBe(null);
    await expect(revokeToken(folder, 'gone')).rejects.toMatchObject({ code: 'UD_USAGE' });
    await expect(make('brief', null)).rejects.toMatchObject({ code: 'UD_USAGE' });
    await expect(make('a\nb', null)).rejects.toMatchObject({ code: 'UD_USAGE' });
    for (const text of ['', 'udt_', '../../state', `udt_${'0'.repeat(12)}_${'x'.repeat(43)}`])
      expect(await holderOf(folder, text, 0)).toBe(null);
    expect((await listTokens(folder)).map(({ name }) => name)).toEqual(['brief']);
  });
});

test('the socket of the API and the folder of the state are for their user only', async () => {
  const stage = await openStage();
  await stage.leave();
  await mkdir(stage.paths.root, { recursive: true, mode: 0o755 });
  const serving = stage.start(['serve']);
  const { pid } = serving;
  await expect
    .poll(async () => (await stage.cli(['--json', 'doctor'])).stdout, { timeout: 20_000 })
    .toContain(`process ${pid}`);
  expect((await stat(stage.paths.root)).mode & 0o777).toBe(0o700);
  expect((await stat(stage.paths.socket)).mode & 0o777).toBe(0o600);
  process.kill(pid, 'SIGTERM');
  expect((await serving.outcome).exitCode).toBe(0);
});
