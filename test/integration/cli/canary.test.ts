import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { stringify } from 'yaml';
import { openWorkplace } from '../../support/cli/workplace.ts';
import { withEnvironment } from '../hooks/facts.ts';

const CANARY = 'canary-that-nobody-may-see';

/** Answers every call with what it was sent, and with a failure. */
async function gossip(): Promise<string> {
  const server = createServer((request, response) => {
    response.writeHead(500).end(`refused ${request.url} with ${JSON.stringify(request.headers)}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
}

/** Every file below a folder that says the word. */
async function filesThatSay(word: string, folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const found = await Promise.all(files.map(async (file) => (await readFile(file)).includes(word)));
  return files.filter((_, index) => found[index]);
}

test('a secret is in no output and in no file, whoever says it', async () => {
  // One is called a secret; the other is only named by the config.
  withEnvironment({ UD_CANARY_TOKEN: `${CANARY}-1`, UD_CHAT: `${CANARY}-2` });
  const place = await openWorkplace();
  onTestFinished(() => place.close());
  const url = await gossip();
  const hooks = {
    'pre-build': 'echo pre-build says $UD_CANARY_TOKEN',
    'pre-rollout': [
      { command: 'echo pre-rollout says $UD_CANARY_TOKEN; env' },
      // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how a config names a variable.
      { url, headers: { 'X-Chat': '${UD_CHAT}', Authorization: 'Bearer ${UD_CANARY_TOKEN}' } },
    ],
  };
  await place.configure({ replicas: 1, rollout: { hooks } });
  const config = await readFile(join(place.project, 'unideploy.yaml'), 'utf8');
  const image = { build: 'echo the build says $NPM_TOKEN', env: { NPM_TOKEN: `${CANARY}-3` } };
  await writeFile(join(place.project, 'unideploy.yaml'), `${config}${stringify({ image })}`);

  const controller = await place.serve();
  const summary = join(place.project, 'summary.md');
  const outcomes = [
    await place.cli(['rollout']),
    await place.cli(['rollout', '--json']),
    await place.cli(['rollout'], { GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: summary }),
    await place.cli(['history', '--service', 'site']),
    await place.cli(['history', '--service', 'site', '--json']),
    await place.cli(['audit', '--service', 'site', '--json']),
  ];
  process.kill(controller.pid, 'SIGTERM');
  outcomes.push(await controller.outcome);
  const said = outcomes.map(({ stdout, stderr }) => stdout + stderr).join('\n');

  // They have all spoken, and the last of them was refused with what it had sent.
  for (const word of ['pre-build says ***', 'the build says ***', 'refused /hook'])
    expect(said).toContain(word);
  expect(said).not.toContain(CANARY);
  expect(await readFile(summary, 'utf8')).not.toContain(CANARY);
  expect(await filesThatSay('refused /hook', place.state)).not.toEqual([]);
  expect(await filesThatSay(CANARY, place.state)).toEqual([]);
});
