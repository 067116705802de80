import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { MetricSource } from '../../../src/domain/analysis.ts';
import { measures } from '../../../src/measure/index.ts';

const SUBJECT = { service: 'shop', rollout: 3, revision: 2, stable: 1 };
const NEVER = new AbortController().signal;
const NO_DATA_PLANE = { figures: () => Promise.reject(new Error('no data plane')) };

/** A server that answers as it is told, and its address. */
async function server(answer: (asked: IncomingMessage, res: ServerResponse, body: string) => void) {
  const listening = createServer(async (asked, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of asked) chunks.push(chunk as Buffer);
    answer(asked, res, Buffer.concat(chunks).toString());
  }).listen(0, '127.0.0.1');
  await once(listening, 'listening');
  onTestFinished(() => {
    listening.closeAllConnections();
    listening.close();
  });
  return `http://127.0.0.1:${(listening.address() as AddressInfo).port}`;
}

async function measure(source: MetricSource, signal = NEVER, subject: { stable: number | null } = SUBJECT) {
  const gauge = await measures({ dataPlane: NO_DATA_PLANE }).open(source, { ...SUBJECT, ...subject });
  return await gauge.measure(signal);
}

const http = (url: string, headers = {}, timeout = 5000) =>
  ({ kind: 'http', url, headers, timeout }) as const;

describe('a URL that judges', () => {
  const answering = (status: number, body: string) =>
    server((_, res) => {
      res.statusCode = status;
      res.end(body);
    });

  it.each([
    [200, 'fine', { verdict: 'success', value: null, said: 'answered 200 fine' }],
    [204, '', { verdict: 'success', value: null }],
    [422, 'no', { verdict: 'failure', value: null, said: 'answered 422 no' }],
    [200, '{"outcome": "failure", "value": 7}', { verdict: 'failure', value: 7 }],
    [200, '{"outcome": "inconclusive"}', { verdict: 'inconclusive', value: null }],
    [404, '{"outcome": "success"}', { verdict: 'success', value: null }],
    [200, '{"value": 0.25}', { verdict: 'success', value: 0.25, said: '0.25, answered 200' }],
    [200, '[1]', { verdict: 'success', value: null }],
  ])('answers %i %s', async (status, body, measurement) => {
    expect(await measure(http(await answering(status, body)))).toMatchObject(measurement);
  });

  it.each([
    [500, '{"outcome": "success"}', 'it answered 500 {"outcome": "success"}'],
    [302, '', 'it answered 302'],
    [200, '{"outcome": "great"}', 'it answered with an outcome or value that is none: {"outcome": "great"}'],
    [200, '{"value": "7"}', 'it answered with an outcome or value that is none: {"value": "7"}'],
  ])('and fails with %i %s', async (status, body, message) => {
    await expect(measure(http(await answering(status, body)))).rejects.toThrow(message);
  });

  it('is told whom it is about, and shown what only the environment knows', async () => {
    const url = await server((asked, res) => res.end(`${asked.url} ${asked.headers.authorization}`));
    process.env.ANALYSIS_TOKEN = 's3cret';
    onTestFinished(() => {
      delete process.env.ANALYSIS_TOKEN;
    });
    const path = '/judge?service={{service}}&new={{revision}}&old={{stable}}';
    // biome-ignore lint/suspicious/noTemplateCurlyInString: as it stands in a config
    const said = measure(http(url + path, { authorization: 'Bearer ${ANALYSIS_TOKEN}' }));
    expect((await said).said).toBe('answered 200 /judge?service=shop&new=2&old=1 Bearer s3cret');
    // biome-ignore lint/suspicious/noTemplateCurlyInString: as it stands in a config
    await expect(measure(http(url, { authorization: '${ANALYSIS_NONE}' }))).rejects.toThrow(
      "the controller's environment has no ANALYSIS_NONE",
    );
  });

  it('fails when nothing listens, in time when nothing answers, and at once when nobody wants it', async () => {
    await expect(measure(http('http://127.0.0.1:1'))).rejects.toThrow('ECONNREFUSED');
    const silent = await server(() => {});
    await expect(measure(http(silent, {}, 50))).rejects.toThrow('no answer within 50 ms');
    const dripping = await server((_, res) => void res.write('{'));
    await expect(measure(http(dripping, {}, 200))).rejects.toThrow('no answer within 200 ms');
    const controller = new AbortController();
    const stopped = measure(http(silent), controller.signal);
    controller.abort(new Error('stopped'));
    await expect(stopped).rejects.toThrow('stopped');
  });

  it('does not have to be read without end', async () => {
    const endless = await server((_, res) => res.end('x'.repeat(2 << 20)));
    await expect(measure(http(endless))).rejects.toThrow('longer than');
  });
});

describe('a Prometheus query', () => {
  const prometheus = (url: string, query = 'up', timeout = 5000) =>
    ({ kind: 'prometheus', url, query, headers: {}, timeout }) as const;
  const replying = (data: unknown, status = 200) =>
    server((_, res) => {
      res.statusCode = status;
      res.end(JSON.stringify(data));
    });
  const success = (resultType: string, result: unknown) => ({
    status: 'success',
    data: { resultType, result },
  });
  const vector = (...values: string[]) =>
    success(
      'vector',
      values.map((value) => ({ metric: {}, value: [1.5, value] })),
    );

  it.each([
    ['a vector of one', vector('0.25'), 0.25, '0.25'],
    ['a scalar', success('scalar', [1.5, '1e3']), 1000, '1000'],
    ['nothing', vector(), null, 'no data'],
    ['no number', vector('NaN'), null, 'no data'],
    ['a division by nothing', vector('+Inf'), null, 'no data'],
  ])('gives %s', async (_, data, value, said) => {
    expect(await measure(prometheus(await replying(data)))).toEqual({
      value,
      said,
      stable: null,
      sample: null,
      verdict: null,
    });
  });

  it.each([
    ['several values', vector('1', '2'), 200, 'the query gives 2 values, expected one'],
    [
      'a matrix',
      success('matrix', []),
      200,
      'the query gives a matrix, expected a vector of one or a scalar',
    ],
    ['a histogram', success('vector', [{ metric: {}, histogram: [1, {}] }]), 200, 'gives a histogram'],
    [
      'an error',
      { status: 'error', errorType: 'bad_data', error: 'parse error' },
      400,
      'bad_data: parse error',
    ],
    ['something else', { hello: 'world' }, 200, 'Prometheus answered 200 {"hello":"world"}'],
    ['a refusal', 'unauthorized', 401, 'Prometheus answered 401'],
  ])('that gives %s is an error', async (_, data, status, message) => {
    await expect(measure(prometheus(await replying(data, status)))).rejects.toThrow(message);
  });

  it('is made of both revisions where it asks about one', async () => {
    const asked: string[] = [];
    const url = await server((req, res, body) => {
      const query = new URLSearchParams(body).get('query') ?? '';
      asked.push(`${req.method} ${req.url} ${query}`);
      res.end(JSON.stringify(vector(query.includes('"2"') ? '0.4' : '0.1')));
    });
    const query = 'rate(errors{service="{{service}}",revision="{{revision}}"}[1m])';
    expect(await measure(prometheus(`${url}/`, query))).toMatchObject({
      value: 0.4,
      stable: 0.1,
      said: '0.4, stable 0.1',
    });
    expect(asked.sort()).toEqual([
      'POST /api/v1/query rate(errors{service="shop",revision="1"}[1m])',
      'POST /api/v1/query rate(errors{service="shop",revision="2"}[1m])',
    ]);
    expect(await measure(prometheus(url, query), NEVER, { stable: null })).toMatchObject({ stable: null });
    asked.length = 0;
    await measure(prometheus(url, 'a{r="{{revision}}"} / a{r="{{stable}}"}'));
    expect(asked).toEqual(['POST /api/v1/query a{r="2"} / a{r="1"}']);
  });

  it('has a deadline', async () => {
    await expect(measure(prometheus(await server(() => {}), 'up', 50))).rejects.toThrow(
      'no answer within 50 ms',
    );
  });
});
