import { describe, expect, it } from 'vitest';
import type { Cause } from '../../../src/domain/supervision.ts';
import type { Sickness } from '../../../src/hypervisor/simulated/world.ts';
import { supervised } from '../../support/supervised.ts';

const ENOUGH = 40_000;
const FULL = { 'site-1-2': 100, 'site-2-1': 100 };

describe('a sick instance', () => {
  it.each<[Sickness, Cause]>([
    ['dies', 'dead'],
    ['panics', 'panicked'],
    ['hangs', 'hung'],
    ['errs', 'erring'],
    ['leaks', 'starved'],
    ['stops', 'stopped'],
  ])('that %s is found, told of as %s, and replaced', async (sickness, cause) => {
    const { befall, pass, weights, ids, entries, repairs, store, clock } = await supervised();
    const began = clock.now();
    befall('site-1-1', sickness);
    await pass(ENOUGH);
    expect(entries('sick')).toMatchObject([
      { instance: 'site-1-1', cause, treatment: 'replace', evidence: { instance: 'site-1-1' } },
    ]);
    if (sickness !== 'leaks') expect((entries('sick')[0]?.at ?? 0) - began).toBeLessThanOrEqual(3000);
    expect(repairs()).toMatchObject([{ state: 'succeeded', performer: 'the supervisor' }]);
    expect(await ids()).toEqual(['site-1-2', 'site-2-1']);
    expect(await weights()).toEqual(FULL);
    expect(store.service('site')?.goal).toMatchObject({ revision: 1, replicas: 2 });
  });

  it('that answers clients worse than the others is replaced, though its checks are well, and gets no share back', async () => {
    const { pass, clock, dataPlane, entries, ids } = await supervised({
      supervision: { limits: { repairs: 5, window: 600_000, backoff: 0 } },
      incidentFor: (id) => (id === 'site-2-1' ? 'never-healthy' : null),
    });
    const status = { '1xx': 0, '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0 };
    const figures = (instance: string, errs: boolean) => ({
      instance,
      revision: 1,
      status: { ...status, [errs ? '5xx' : '2xx']: Math.floor(clock.now() / 100) },
      broken: 0,
      latency: { sum: 0, buckets: [] },
      retries: 0,
      ejections: 0,
    });
    dataPlane.figures = async () => [figures('site-1-1', true), figures('site-1-2', false)];
    await pass(ENOUGH);
    expect(entries('sick').map(({ instance, cause }) => [instance, cause])).toEqual([['site-1-1', 'erring']]);
    expect(await ids()).toEqual(['site-1-2', 'site-3-1']);
  });

  it('has no share any more from the moment it is found, where others have one', async () => {
    const { befall, pass, weights } = await supervised();
    befall('site-1-1', 'hangs');
    await pass(3000);
    expect(await weights()).toEqual({ 'site-1-1': 0, 'site-1-2': 100 });
  });

  it('that answers nobody loses its share though it is the only one: requests wait for the next', async () => {
    const { befall, pass, weights } = await supervised({ replicas: 1 });
    befall('site-1-1', 'dies');
    await pass(2000);
    expect(await weights()).toEqual({ 'site-1-1': 0 });
    await pass(ENOUGH);
    expect(await weights()).toEqual({ 'site-2-1': 100 });
  });

  it('stays in the table where all have died, and nobody is refused before the next ones serve', async () => {
    const { befall, pass, weights } = await supervised();
    befall('site-1-1', 'dies');
    befall('site-1-2', 'dies');
    await pass(2000);
    expect(await weights()).toEqual({ 'site-1-1': 0, 'site-1-2': 0 });
    await pass(ENOUGH);
    expect(await weights()).toEqual({ 'site-2-1': 100, 'site-2-2': 100 });
  });

  it('that errs keeps its share where it is the only one, until another one serves', async () => {
    const { befall, pass, weights } = await supervised({ replicas: 1 });
    befall('site-1-1', 'errs');
    await pass(3000);
    expect(await weights()).toEqual({ 'site-1-1': 100 });
    await pass(ENOUGH);
    expect(await weights()).toEqual({ 'site-2-1': 100 });
  });

  it('serves again when it recovers before anything was done to it', async () => {
    const supervision = { limits: { repairs: 5, window: 600_000, backoff: 60_000 } };
    const { befall, pass, weights, entries, repairs } = await supervised({ supervision });
    befall('site-1-1', 'dies');
    await pass(10_000);
    befall('site-2-1', 'hangs');
    await pass(5000);
    expect(await weights()).toEqual({ 'site-1-2': 100, 'site-2-1': 0 });
    befall('site-2-1', 'heals');
    await pass(5000);
    expect(await weights()).toEqual(FULL);
    expect(entries('recovered')).toMatchObject([{ instance: 'site-2-1' }]);
    expect(repairs()).toHaveLength(1);
  });

  it('is ended before another one is launched, where the policy wants that', async () => {
    const { befall, pass, entries, ids } = await supervised({
      supervision: { treatments: { hung: 'restart' } },
    });
    befall('site-1-1', 'hangs');
    await pass(ENOUGH);
    expect(
      entries('action-finished').flatMap(({ action, rollout }) => (rollout === 2 ? action : [])),
    ).toMatchObject([
      { kind: 'retire', instance: 'site-1-1' },
      { kind: 'launch', instance: 'site-2-1' },
      { kind: 'admit', instance: 'site-2-1' },
    ]);
    expect(await ids()).toEqual(['site-1-2', 'site-2-1']);
  });

  it('has its memory written to a file where the policy asks for it', async () => {
    const { befall, pass, entries } = await supervised({ supervision: { dump: 128 } });
    befall('site-1-1', 'hangs');
    await pass(ENOUGH);
    expect(entries('sick')).toMatchObject([{ dump: 'simulated/site-1-1.elf' }]);
  });

  it('is left alone where nobody wants it supervised', async () => {
    const { befall, pass, ids, entries } = await supervised({ supervision: { enabled: false } });
    befall('site-1-1', 'dies');
    await pass(ENOUGH);
    expect(await ids()).toEqual(['site-1-1', 'site-1-2']);
    expect(entries('sick')).toEqual([]);
  });

  it('is one of several: all that are sick at once are one repair', async () => {
    const { befall, pass, ids, repairs } = await supervised({ replicas: 4 });
    befall('site-1-1', 'panics');
    befall('site-1-3', 'panics');
    await pass(ENOUGH);
    expect(repairs()).toHaveLength(1);
    expect(await ids()).toEqual(['site-1-2', 'site-1-4', 'site-2-1', 'site-2-2']);
  });

  it('whose whole machine is gone is missed, and made up for', async () => {
    const { world, pass, ids } = await supervised();
    await world.hypervisor.remove('site-1-2');
    await pass(ENOUGH);
    expect(await ids()).toEqual(['site-1-1', 'site-2-1']);
  });

  it('that goes wrong while another one is replaced is the next repair', async () => {
    const { befall, pass, ids, repairs } = await supervised({ replicas: 3 });
    befall('site-1-1', 'dies');
    await pass(1000);
    befall('site-1-2', 'hangs');
    await pass(ENOUGH);
    expect(repairs().map(({ state }) => state)).toEqual(['succeeded', 'succeeded']);
    expect(await ids()).toEqual(['site-1-3', 'site-2-1', 'site-3-1']);
  });
});

describe('a frozen instance', () => {
  const freeze = { treatments: { hung: 'freeze' as const } };

  it('is kept as it was, in no pool, while another one serves in its place', async () => {
    const { befall, pass, world, weights, services } = await supervised({ supervision: freeze });
    befall('site-1-1', 'hangs');
    await pass(ENOUGH);
    const found = (await world.hypervisor.list()).find(({ spec }) => spec.id === 'site-1-1');
    expect(found?.state).toBe('frozen');
    expect(await weights()).toEqual(FULL);
    expect(await services.status('site')).toMatchObject({ frozen: ['site-1-1'], sick: [] });
  });

  it('is one of a service: the next one takes its place', async () => {
    const { befall, pass, ids } = await supervised({ supervision: freeze });
    befall('site-1-1', 'hangs');
    await pass(ENOUGH);
    befall('site-1-2', 'hangs');
    await pass(ENOUGH);
    expect(await ids()).toEqual(['site-1-2', 'site-2-1', 'site-3-1']);
  });

  it.each(['restart', 'down'] as const)('ends with %s', async (verb) => {
    const { befall, pass, ids, deployments, done } = await supervised({ supervision: freeze });
    befall('site-1-1', 'hangs');
    await pass(ENOUGH);
    expect(await done(deployments[verb]('site', 'tester'))).toMatchObject({ state: 'succeeded' });
    expect(await ids()).toEqual(verb === 'down' ? [] : ['site-3-1', 'site-3-2']);
  });

  it('outlives a scale and a new revision', async () => {
    const { befall, pass, ids, deployments, done, request } = await supervised({ supervision: freeze });
    befall('site-1-1', 'hangs');
    await pass(ENOUGH);
    await done(deployments.scale('site', 3, 'tester'));
    const image = { kind: 'kernel', kernel: 'b'.repeat(64), initrd: null } as const;
    await done(deployments.deploy('site', { ...request, spec: { ...request.spec, image } }));
    expect(await ids()).toContain('site-1-1');
  });
});

describe('what is replaced again and again', () => {
  const limits = { repairs: 3, window: 600_000, backoff: 1000 };

  it('is given up after so many repairs, and the reason is told', async () => {
    const { pass, befall, repairs, entries, store } = await supervised({
      supervision: { limits },
      incidentFor: () => 'dies-after-health',
    });
    befall('site-1-1', 'dies');
    await pass(300_000);
    expect(repairs()).toHaveLength(3);
    const why = expect.stringMatching(/^repaired 3 times within 10 min, and sick again \(site-\d-1 has died/);
    expect(entries('supervision-stopped')).toMatchObject([{ why }]);
    expect(store.service('site')?.gaveUp).toMatchObject({ why });
  });

  it('is given up too where no repair succeeds, and what serves goes on', async () => {
    const { pass, befall, repairs, ids, weights } = await supervised({
      supervision: { limits },
      incidentFor: () => 'never-healthy',
    });
    befall('site-1-1', 'errs');
    await pass(300_000);
    expect(repairs().map(({ state }) => state)).toEqual(['rolled-back', 'rolled-back', 'rolled-back']);
    expect(await ids()).toEqual(['site-1-1', 'site-1-2']);
    expect(await weights()).toEqual({ 'site-1-1': 0, 'site-1-2': 100 });
  });

  it('is given up at once where the store has nothing to launch', async () => {
    let kept = true;
    const { pass, befall, repairs, entries } = await supervised({ hasArtifacts: () => kept });
    kept = false;
    befall('site-1-1', 'dies');
    await pass(ENOUGH);
    expect(repairs()).toEqual([]);
    const why = expect.stringMatching(/^no repair can begin: artifact \w+ is not in the store any more$/);
    expect(entries('supervision-stopped')).toMatchObject([{ why }]);
  });

  it('is repaired as soon as the data plane can be asked again', async () => {
    const { pass, befall, repairs, entries, dataPlane } = await supervised();
    const { status } = dataPlane;
    dataPlane.status = async () => {
      throw new Error('no data plane');
    };
    befall('site-1-1', 'dies');
    await pass(10_000);
    expect(repairs()).toEqual([]);
    dataPlane.status = status;
    await pass(ENOUGH);
    expect(repairs()).toMatchObject([{ state: 'succeeded' }]);
    expect(entries('supervision-stopped')).toEqual([]);
  });

  it('is forgiven when a person restarts the service', async () => {
    let broken = true;
    const { pass, befall, repairs, store, deployments, done, ids } = await supervised({
      supervision: { limits },
      incidentFor: () => (broken ? 'dies-after-health' : null),
    });
    befall('site-1-1', 'dies');
    await pass(300_000);
    broken = false;
    expect(await done(deployments.restart('site', 'tester'))).toMatchObject({ state: 'succeeded' });
    expect(store.service('site')?.gaveUp).toBeNull();
    const [victim = ''] = await ids();
    befall(victim, 'dies');
    await pass(ENOUGH);
    expect(repairs()).toHaveLength(4);
    expect(await ids()).toHaveLength(2);
  });
});

describe('a repair and a person', () => {
  it('gives way to whatever a person begins', async () => {
    const { befall, pass, repairs, deployments, done } = await supervised();
    befall('site-1-1', 'dies');
    await pass(1000);
    expect(repairs()).toMatchObject([{ state: 'open' }]);
    expect(await done(deployments.scale('site', 3, 'tester'))).toMatchObject({ state: 'succeeded' });
    expect(repairs()).toMatchObject([{ state: 'superseded' }]);
  });

  it('does not begin while a person moves the pool', async () => {
    const { befall, pass, repairs, deployments, clock, store } = await supervised();
    await clock.until(deployments.restart('site', 'tester'));
    befall('site-1-1', 'hangs');
    await pass(ENOUGH);
    expect(store.openRollouts()).toEqual([]);
    expect(repairs()).toEqual([]);
  });
});
