import { describe, expect, it } from 'vitest';
import { describeService } from '../../../src/cli/render/service.ts';
import type { InstanceStatus, ShownService } from '../../../src/daemon/messages.ts';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { goalOf } from '../../support/revisions.ts';

const instance = (id: string, change: Partial<InstanceStatus> = {}): InstanceStatus => ({
  id,
  revision: 1,
  verified: true,
  health: 'healthy',
  healthySince: 0,
  state: 'running',
  launchedAt: Date.now(),
  weight: 100,
  routed: true,
  mislabelled: false,
  swappable: true,
  burdened: false,
  inFlight: 0,
  acting: null,
  endpoint: { host: '127.0.0.1', port: 4000 },
  runState: 'running',
  lastAnswer: null,
  usable: true,
  ...change,
});

const status = (change: Partial<ShownService> = {}): ShownService => ({
  name: 'site',
  goal: goalOf(1, 2),
  listen: { host: '127.0.0.1', port: 8080 },
  traffic: DEFAULT_TRAFFIC,
  requests: 7,
  failures: 0,
  held: 0,
  instances: [instance('site-1-1'), instance('site-1-2')],
  open: null,
  sick: [],
  frozen: [],
  gaveUp: null,
  warm: null,
  standing: null,
  ...change,
});

const TLS = { ...DEFAULT_TRAFFIC, tls: { certificate: '/shop.pem', key: '/shop.key' } };

describe('the status of a service', () => {
  it.each([
    ['http://127.0.0.1:8080', status()],
    ['https://127.0.0.1:8080', status({ traffic: TLS })],
    ['tcp://127.0.0.1:8080', status({ traffic: { ...DEFAULT_TRAFFIC, mode: 'tcp' } })],
    ['http://[::1]:8080', status({ listen: { host: '::1', port: 8080 } })],
    ['no listener', status({ listen: null, traffic: null })],
  ])('says that it is reached at %s', (address, service) => {
    expect(describeService(service)).toContain(`2/2 serving  ${address}  7 requests`);
  });

  it('says which instances the data plane has taken out, and does not count them', () => {
    const out = instance('site-1-2', { usable: false });
    const unknown = instance('site-1-3', { usable: null, weight: 0 });
    const [head, , ...rows] = describeService(
      status({ instances: [instance('site-1-1'), out, unknown] }),
    ).split('\n');
    expect(head).toContain('1/2 serving');
    expect(rows.map((row) => row.split(/ {2,}/)[5])).toEqual(['100', '100, out', '0']);
  });
});
