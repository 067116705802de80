import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { ConfigError, problemLine } from '../../../src/config/problems.ts';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { trafficPolicy } from '../../../src/proxy/table.ts';

const SERVICE = 'service: a\nlisten: 1\nguest: {profile: linux, kernel: k}\n';

const trafficOf = (text: string) => parseConfig('app/unideploy.yaml', SERVICE + text).traffic;

/** The problems of `proxy: {…}` on line 4, without the name of the file. */
function problems(body: string): string[] {
  try {
    trafficOf(`proxy: {${body}}\n`);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => problemLine(problem).replace('app/unideploy.yaml:', ''));
  }
  return [];
}

describe('a service without proxy', () => {
  it('is reached as one always was, and its instances are checked as its health says', () => {
    expect(trafficOf('health: {path: /up, timeout: 3s}\n')).toEqual({
      ...DEFAULT_TRAFFIC,
      check: { path: '/up', interval: 2000, timeout: 3000, healthy: 1, unhealthy: 3 },
    });
  });
});

describe('proxy', () => {
  const FULL = `
proxy:
  mode: http
  match: [{host: Shop.example.com}, {path: /shop}, {host: example.com, path: /shop/}]
  tls: {certificate: certs/shop.pem, key: /etc/shop.key}
  balance: round-robin
  sticky: {cookie: shop}
  preview: {host: next.example.com, header: {name: X-Preview, value: "1"}}
  check: {path: /ok, interval: 1s, timeout: 500ms, healthy: 2, unhealthy: 4}
  eject: {failures: 3, time: 1m, floor: 75%}
  drain: {websocket: 1s, events: 2s}
  hold: {requests: 0, bytes: 512K, time: 5s, health: /alive}
  limits: {head: 32K, body: 1G}
  timeouts: {connect: 1s, response: 2s, head: 3s, body: 4s, idle: 5s}
  accessLog: true
`;

  it('says all that a routing table has', () => {
    expect(trafficOf(FULL)).toEqual({
      mode: 'http',
      match: [
        { host: 'shop.example.com', path: '/' },
        { host: null, path: '/shop' },
        { host: 'example.com', path: '/shop/' },
      ],
      tls: {
        certificate: {
          path: resolve('app/certs/shop.pem'),
          written: 'certs/shop.pem',
          where: 'app/unideploy.yaml:8:22',
        },
        key: { path: '/etc/shop.key', written: '/etc/shop.key', where: 'app/unideploy.yaml:8:43' },
      },
      balance: 'round-robin',
      sticky: { cookie: 'shop', pages: 1000 },
      preview: { host: 'next.example.com', header: { name: 'X-Preview', value: '1' } },
      check: { path: '/ok', interval: 1000, timeout: 500, healthy: 2, unhealthy: 4 },
      eject: { failures: 3, time: 60_000, floor: 75 },
      drain: { websocket: 1000, events: 2000 },
      hold: { requests: 0, bytes: 524_288, time: 5000, health: '/alive' },
      limits: { head: 32_768, body: 1_073_741_824 },
      timeouts: { connect: 1000, response: 2000, head: 3000, body: 4000, idle: 5000 },
      accessLog: true,
    });
  });

  it.each([
    ['nothing', ''],
    ['everything', FULL],
    [
      'the largest of all',
      'proxy: {eject: {failures: 1000, time: 24h, floor: 100%}, drain: {websocket: 24h}, hold: {requests: 1000000, bytes: 1G, time: 24h}, limits: {head: 1M, body: 1000G}, timeouts: {idle: 24h}}\n',
    ],
    [
      'the smallest of all',
      'proxy: {eject: {failures: 1, time: 1ms, floor: 0%}, hold: {bytes: 1K}, limits: {head: 1K, body: 1K}, timeouts: {connect: 1ms}}\n',
    ],
    ['connections', 'proxy: {mode: tcp}\n'],
  ])('is taken by the data plane where it says %s', (_what, text) => {
    const { tls, ...traffic } = trafficOf(text);
    const paths = tls && { certificate: tls.certificate.path, key: tls.key.path };
    expect(trafficPolicy.parse({ ...traffic, tls: paths })).toEqual({ ...traffic, tls: paths });
  });

  it('takes true and false for a cookie of the usual name, and none', () => {
    expect(trafficOf('proxy: {sticky: true}\n').sticky).toEqual({ cookie: 'unideploy', pages: 1000 });
    expect(trafficOf('proxy: {sticky: {}}\n').sticky).toEqual({ cookie: 'unideploy', pages: 1000 });
    expect(trafficOf('proxy: {sticky: false}\n').sticky).toBeNull();
  });

  it('checks instances unless it is told not to, or speaks no HTTP', () => {
    expect(trafficOf('proxy: {check: {interval: 5s}}\n').check).toMatchObject({
      path: '/health',
      interval: 5000,
      timeout: 1000,
    });
    expect(trafficOf('proxy: {check: false}\n').check).toBeNull();
    expect(trafficOf('proxy: {mode: tcp}\n').check).toBeNull();
    expect(trafficOf('proxy: {mode: tcp, check: false}\n').check).toBeNull();
  });
});

describe('a wrong proxy is reported with its place:', () => {
  it.each([
    ['mode: udp', '4:15: proxy.mode is "udp", expected http or tcp'],
    ['match: {host: a}', '4:16: proxy.match is a map, expected a list of maps of host and path'],
    ['match: [{host: "a:80"}]', '4:24: proxy.match[0].host is "a:80", expected the name of a host'],
    ['match: [{host: 1.2.3.999}]', '4:24: proxy.match[0].host is "1.2.3.999", expected the name of a host'],
    ['match: [{path: shop}]', '4:24: proxy.match[0].path is "shop", expected a path that starts with /'],
    ['match: [{path: "/a?b"}]', '4:24: proxy.match[0].path is "/a?b", expected a path that starts with /'],
    ['match: [{port: 1}]', '4:18: unknown key "port", expected one of host, path'],
    ['tls: {certificate: c}', '4:9: proxy.tls.key is missing, expected a path'],
    ['tls: c.pem', '4:14: proxy.tls is "c.pem", expected a map of keys'],
    [
      'balance: random',
      '4:18: proxy.balance is "random", expected least-in-flight, round-robin or power-of-two',
    ],
    ['sticky: yes', '4:17: proxy.sticky is "yes", expected true, false, or a map of cookie and pages'],
    ['sticky: {cookie: "a b"}', '4:26: proxy.sticky.cookie is "a b", expected the name of a cookie'],
    ['preview: {header: {name: X}}', '4:19: proxy.preview.header.value is missing, expected a text'],
    [
      'preview: {header: {name: "X:", value: a}}',
      '4:34: proxy.preview.header.name is "X:", expected the name of a header',
    ],
    ['check: true', '4:16: proxy.check is true, expected false, or a map of keys'],
    ['check: {interval: 2}', '4:27: proxy.check.interval is 2, expected a duration with its unit'],
    ['eject: {floor: 50}', '4:24: proxy.eject.floor is 50, expected a percentage from 0% to 100%'],
    ['eject: {failures: 0}', '4:27: proxy.eject.failures is 0, expected a whole number from 1 to 1000'],
    ['drain: {websocket: 25h}', '4:28: proxy.drain.websocket is "25h", expected a duration of at most 24h'],
    ['hold: {bytes: 16}', '4:23: proxy.hold.bytes is 16, expected a size from 1K to 1G such as 16K or 16M'],
    ['hold: {bytes: 2G}', '4:23: proxy.hold.bytes is "2G", expected a size from 1K to 1G'],
    ['limits: {head: 2M}', '4:24: proxy.limits.head is "2M", expected a size from 1K to 1M'],
    ['timeouts: {respone: 1s}', '4:20: unknown key "respone", did you mean "response"?'],
    ['accessLog: on', '4:20: proxy.accessLog is "on", expected true or false'],
  ])('{%s}', (body, expected) => {
    expect(problems(body)).toEqual([expect.stringContaining(expected)]);
  });

  it.each([
    ['match: [{path: /a}]', '4:20: proxy.match is given'],
    ['sticky: true', '4:20: proxy.sticky is given'],
    ['preview: {host: a}', '4:20: proxy.preview is given'],
    ['check: {path: /a}', '4:20: proxy.check is given'],
    ['hold: {health: /a}', '4:27: proxy.hold.health is given'],
    ['limits: {body: 1M}', '4:29: proxy.limits.body is given'],
    ['accessLog: true', '4:20: proxy.accessLog is given'],
  ])('{mode: tcp, %s}', (body, expected) => {
    expect(problems(`mode: tcp, ${body}`)).toEqual([
      `${expected} with mode tcp, expected it only with mode http`,
    ]);
  });

  it.each([
    ['preview: {}', '4:9: proxy.preview names no request, expected a host or a header'],
    [
      'match: [{host: a}], preview: {host: A}',
      '4:39: proxy.preview.host is a, expected a host that proxy.match does not name',
    ],
    [
      'match: [{host: a}, {path: /}, {host: A, path: /}]',
      '4:39: proxy.match[2] is the same as proxy.match[0], expected another',
    ],
  ])('{%s}', (body, expected) => {
    expect(problems(body)).toEqual([expected]);
  });
});
