import { describe, expect, it } from 'vitest';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import type { Revision } from '../../../src/domain/revision.ts';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { runRollout } from '../../../src/engine/engine.ts';
import { UnideployError } from '../../../src/errors.ts';
import { mortal } from '../../support/mortal.ts';
import { DISK, goalOf, HEALTH, POLICY, revision } from '../../support/revisions.ts';
import { open, tablesOf, world } from '../../support/rollouts/world.ts';

describe('the engine', () => {
  it('lets requests go again that a killed controller had left waiting', async () => {
    const revisions: [Revision, Revision] = [
      revision(1, { swap: 'replace' }),
      revision(2, { swap: 'replace', code: 'y' }),
    ];
    const sim = await world(revisions, 1);
    open(sim, { strategy: 'volume-swap' });
    const life = mortal();
    const held = async () => {
      while (!(await sim.dataPlane.status())[0]?.hold) await sim.clock.sleep(1);
    };
    await sim.clock.until(Promise.race([runRollout(sim.controller(HEALTH, life.through), 2), held()]));
    life.kill();
    const ended = await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect(ended.state).toBe('succeeded');
    expect((await sim.dataPlane.status())[0]?.hold).toBe(false);
  });

  it('counts a guest as of what it serves, though a killed controller did not come to say so', async () => {
    const revisions: [Revision, Revision] = [revision(1), revision(2, { code: 'y' })];
    const sim = await world(revisions, 1);
    open(sim, { strategy: 'volume-swap' });
    const life = mortal();
    const detach = sim.world.hypervisor.detachVolume;
    const swapped = new Promise<void>((resolve) => {
      sim.world.hypervisor.detachVolume = async (id, volume) => {
        await detach(id, volume);
        life.kill();
        resolve();
      };
    });
    await sim.clock.until(Promise.race([runRollout(sim.controller(HEALTH, life.through), 2), swapped]));
    expect((await sim.dataPlane.status())[0]?.routes).toMatchObject([{ revision: 1 }]);
    await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect((await sim.dataPlane.status())[0]?.routes).toMatchObject([{ revision: 2 }]);
  });

  it('leaves a rollout as it is for the next controller when it is told to, whatever that cuts short', async () => {
    const revisions: [Revision, Revision] = [revision(1), revision(2, { code: 'y' })];
    const sim = await world(revisions, 1);
    open(sim, { strategy: 'volume-swap' });
    const leaving = new AbortController();
    const attach = sim.world.hypervisor.attachVolume;
    sim.world.hypervisor.attachVolume = async () => {
      leaving.abort();
      throw new Error('the monitor was closed');
    };
    const left = await sim.clock.until(runRollout(sim.controller(HEALTH), 2, leaving.signal));
    expect(left).toMatchObject({ state: 'open', direction: 'forward' });
    expect(sim.store.entries.map(({ event }) => event)).not.toContain('action-failed');
    sim.world.hypervisor.attachVolume = attach;
    expect(await sim.clock.until(runRollout(sim.controller(HEALTH), 2))).toMatchObject({
      state: 'succeeded',
    });
  });

  it('takes a disk back to what it was once, however often the instance is started that has it then', async () => {
    const sim = await world([revision(1, { data: [DISK] })], 1);
    await sim.world.hypervisor.snapshotData('site', DISK.name, 'then', 3);
    const revert = { volume: DISK.name, snapshot: 'then' };
    const at = sim.clock.now();
    open(sim, { strategy: 'recreate', kind: 'restart', to: goalOf(1, 1), renew: at, revert });
    const { launch, revertData } = sim.world.hypervisor;
    let reverts = 0;
    sim.world.hypervisor.revertData = async (...named) => {
      reverts++;
      await revertData(...named);
    };
    const life = mortal();
    const killed = new Promise<void>((resolve) => {
      sim.world.hypervisor.launch = async () => {
        life.kill();
        resolve();
        await new Promise(() => {});
      };
    });
    await sim.clock.until(Promise.race([runRollout(sim.controller(HEALTH, life.through), 2), killed]));
    sim.world.hypervisor.launch = launch;
    expect(await sim.clock.until(runRollout(sim.controller(HEALTH), 2))).toMatchObject({
      state: 'succeeded',
    });
    expect(reverts).toBe(1);
  });

  it('goes back to volumes that lie beneath those of a swap that was cut short', async () => {
    const revisions: [Revision, Revision] = [revision(1), revision(2, { code: 'y' })];
    const sim = await world(revisions, 1);
    const [volume] = revisions[1].volumes;
    if (!volume) expect.fail();
    await sim.clock.until(sim.world.hypervisor.attachVolume('site-1-1', volume));
    open(sim, { strategy: 'volume-swap', direction: 'back' });
    expect(await sim.clock.until(runRollout(sim.controller(HEALTH), 2))).toMatchObject({
      state: 'rolled-back',
    });
    const machines = await sim.world.hypervisor.list();
    expect(machines.map(({ spec }) => sim.world.serving(spec.id).digests)).toEqual([['x'.repeat(64)]]);
  });

  it('replaces what goes on the way back, and gives up where too many do', async () => {
    const dies = await world([revision(1), revision(2, { image: 'b' })], 0, (id) =>
      id === 'site-2-1' ? 'dies-before-health' : null,
    );
    open(dies, { strategy: 'rolling', direction: 'back' });
    expect(await dies.clock.until(runRollout(dies.controller(HEALTH), 2))).toMatchObject({
      state: 'rolled-back',
    });
    const die = await world([revision(1), revision(2, { image: 'b' })], 0, () => 'dies-before-health');
    open(die, { strategy: 'rolling', direction: 'back' });
    expect(await die.clock.until(runRollout(die.controller(HEALTH), 2))).toMatchObject({ state: 'failed' });
    expect(die.store.rollout(2)?.launches).toBe(6);
  });

  it('names what did not work, where it was seen, and goes back', async () => {
    const sim = await world([revision(1), revision(2, { image: 'b' })], 1, () => 'never-healthy');
    open(sim, { strategy: 'rolling' });
    const ended = await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect(ended).toMatchObject({ state: 'rolled-back', reason: { code: 'UD_GUEST_UNHEALTHY' } });
    const turned = sim.store.entries.find((entry) => entry.event === 'rollback-started');
    expect(turned).toMatchObject({
      to: 1,
      evidence: { instance: 'site-2-1', lastAnswer: 'no answer within 500 ms' },
    });
    expect((await sim.world.hypervisor.list()).map(({ spec }) => spec.id)).toEqual(['site-1-1']);
  });

  it('fails, and leaves nothing running, when a first rollout has nothing to go back to', async () => {
    const sim = await world([revision(1)], 0, () => 'dies-before-health');
    open(sim, { strategy: 'rolling', from: goalOf(null, 0), to: goalOf(1, 2) });
    const ended = await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect(ended.state).toBe('failed');
    expect(await sim.world.hypervisor.list()).toEqual([]);
    expect(await sim.dataPlane.status()).toEqual([]);
  });

  it('moves no traffic to an instance that has stopped answering since it was looked at', async () => {
    const sim = await world([revision(1), revision(2, { image: 'b' })], 1, () => 'hangs-after-health');
    open(sim, { strategy: 'blue-green', policy: { ...POLICY, promotion: 1000 } });
    const seen = tablesOf(sim);
    const ended = await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect(ended).toMatchObject({ state: 'rolled-back', reason: { code: 'UD_VOLUME_UNVERIFIED' } });
    const shared = seen.flatMap(({ routes }) => routes).filter(({ weight }) => weight > 0);
    expect(new Set(shared.map(({ instance }) => instance))).toEqual(new Set(['site-1-1']));
  });

  it('counts how long a guest has been healthy from when it got its volume', async () => {
    const sim = await world([revision(1), revision(2, { code: 'y' })], 2);
    const policy = { ...POLICY, parallel: 1, minHealthy: 5000 };
    open(sim, { strategy: 'volume-swap', policy, from: goalOf(1, 2), to: goalOf(2, 2) });
    expect((await sim.clock.until(runRollout(sim.controller(HEALTH), 2))).state).toBe('succeeded');
    const swaps = sim.store.entries.filter((entry) => entry.event === 'action-started').map(({ at }) => at);
    expect((swaps[1] ?? 0) - (swaps[0] ?? 0)).toBeGreaterThan(5000);
  });

  it('ends instead of repeating what never takes effect', async () => {
    const sim = await world([revision(1), revision(2, { code: 'y' })], 1);
    sim.world.hypervisor.detachVolume = async () => {};
    open(sim, { strategy: 'volume-swap' });
    const ended = await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect(ended.state).toBe('rolled-back');
    const turned = sim.store.entries.find((entry) => entry.event === 'rollback-started');
    expect(turned).toMatchObject({
      reason: { message: 'swapVolume of site-1-1 was done 5 times and changed nothing' },
    });
  });

  it('replaces a guest that does not let go of its old volume by one that has no other', async () => {
    const sim = await world([revision(1), revision(2, { code: 'y' })], 1);
    sim.world.hypervisor.detachVolume = async (id) => {
      throw new UnideployError('UD_VOLUME_UNPLUG', `${id} keeps it`, 'nothing');
    };
    open(sim, { strategy: 'volume-swap' });
    const ended = await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect(ended).toMatchObject({ state: 'rolled-back', reason: { code: 'UD_VOLUME_UNPLUG' } });
    const machines = await sim.world.hypervisor.list();
    expect(machines.map(({ spec, volumes }) => [spec.id, volumes])).toEqual([
      ['site-2-1', [expect.objectContaining({ name: 'code', digest: 'x'.repeat(64) })]],
    ]);
  });

  it('goes back to a volume that a guest has kept behind a newer one', async () => {
    const sim = await world([revision(1), revision(2, { code: 'y' })], 1);
    const [volume] = revision(2, { code: 'y' }).volumes;
    if (volume) await sim.clock.until(sim.world.hypervisor.attachVolume('site-1-1', volume));
    open(sim, { strategy: 'volume-swap', kind: 'rollback', from: goalOf(2, 1), to: goalOf(1, 1) });
    expect((await sim.clock.until(runRollout(sim.controller(HEALTH), 2))).state).toBe('succeeded');
    expect(sim.world.serving('site-1-1').digests).toEqual(['x'.repeat(64)]);
  });

  it('gives exactly those their old volume again that were swapped when one does not take the new one', async () => {
    const sim = await world([revision(1), revision(2, { code: 'y' })], 9);
    const attach = sim.world.hypervisor.attachVolume;
    sim.world.hypervisor.attachVolume = async (id, volume) => {
      if (id === 'site-1-6') throw new UnideployError('UD_VOLUME_ATTACH', `${id} takes none`, 'nothing');
      await attach(id, volume);
    };
    const policy = { ...POLICY, parallel: 'auto' as const };
    open(sim, { strategy: 'volume-swap', policy, from: goalOf(1, 9), to: goalOf(2, 9) });
    const ended = await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect(ended).toMatchObject({ state: 'rolled-back', reason: { code: 'UD_VOLUME_ATTACH' } });
    const { entries } = sim.store;
    const turn = entries.findIndex(({ event }) => event === 'rollback-started');
    const swapped = (some: JournalEntry[]) =>
      some.flatMap((entry) =>
        entry.event === 'action-finished' && entry.action.kind === 'swapVolume'
          ? [entry.action.instance]
          : [],
      );
    const back = entries
      .slice(turn)
      .flatMap((entry) => (entry.event === 'action-started' ? [entry.action] : []));
    // Those under way when it failed end after the turn.
    expect(swapped(entries).length).toBe(2 * back.length);
    expect(new Set(swapped(entries))).toEqual(
      new Set(back.map((action) => 'instance' in action && action.instance)),
    );
    expect(back.length).toBeLessThan(9);
    const machines = await sim.world.hypervisor.list();
    for (const { spec } of machines) expect(sim.world.serving(spec.id).digests).toEqual(['x'.repeat(64)]);
  });

  it('brings back how clients reached the service when it goes back', async () => {
    const sim = await world([revision(1), revision(2, { image: 'b' })], 1, () => 'never-healthy');
    const traffic = { ...DEFAULT_TRAFFIC, balance: 'round-robin' as const };
    open(sim, { from: goalOf(1, 1), to: { ...goalOf(2, 1), traffic } });
    const seen = tablesOf(sim);
    expect((await sim.clock.until(runRollout(sim.controller(HEALTH), 2))).state).toBe('rolled-back');
    expect(seen[0]?.traffic.balance).toBe('round-robin');
    expect((await sim.dataPlane.status())[0]?.traffic).toEqual(DEFAULT_TRAFFIC);
  });

  it('has previews reach the new revision until it has arrived, or turned back', async () => {
    const traffic = { ...DEFAULT_TRAFFIC, preview: { host: 'next.example.com', header: null } };
    const change = { from: { ...goalOf(1, 1), traffic }, to: { ...goalOf(2, 1), traffic } };
    for (const [incident, state] of [
      [null, 'succeeded'],
      ['never-healthy', 'rolled-back'],
    ] as const) {
      const sim = await world([revision(1), revision(2, { image: 'b' })], 1, () => incident);
      open(sim, change);
      const seen = tablesOf(sim);
      expect((await sim.clock.until(runRollout(sim.controller(HEALTH), 2))).state).toBe(state);
      expect(seen[0]?.preview).toBe(2);
      expect((await sim.dataPlane.status())[0]?.preview).toBeNull();
    }
  });
});
