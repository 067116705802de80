import { Readable } from 'node:stream';
import { describe, expect, it, onTestFinished } from 'vitest';
import { digestText } from '../../../src/artifact/digest.ts';
import { ContentStore } from '../../../src/artifact/store.ts';
import { ASKED_FOR, Collector } from '../../../src/daemon/collector.ts';
import type { Revision } from '../../../src/domain/revision.ts';
import type { Snapshot } from '../../../src/domain/snapshot.ts';
import type { InstanceSpec, Template, VirtualMachine } from '../../../src/hypervisor/port.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { temporaryFolder } from '../../integration/artifact/folder.ts';
import { goalOf, POLICY, revision, rollout } from '../../support/revisions.ts';

/** A store with one kernel, and a volume for each stable revision; one guest runs the first revision. */
async function scene(revisions: number) {
  const artifacts = await ContentStore.open(await temporaryFolder());
  const store = sqliteStore(':memory:');
  onTestFinished(() => store.close());
  const put = async (text: string) => {
    const digest = digestText(text);
    await artifacts.put(Readable.from([Buffer.from(text)]), digest);
    return digest;
  };
  const kernel = await put('kernel');
  const specOf = async (code: string): Promise<Revision> => {
    const { volumes, ...rest } = revision(1);
    const digest = await put(code);
    return {
      ...rest,
      image: { kind: 'kernel', kernel, initrd: null },
      volumes: volumes.map((each) => ({ ...each, digest })),
    };
  };
  const goal = (number: number) => ({ ...goalOf(number, 1) });
  for (let number = 1; number <= revisions; number++) {
    store.addRevision(await specOf(`code ${number}`));
    const opened = store.openRollout(rollout(number, goal(number), goal(number)));
    const ended = { ...opened, policy: { ...POLICY, keep: 2 }, state: 'succeeded', endedAt: number } as const;
    const finished = { event: 'rollout-finished', verdict: 'succeeded', reason: null, ms: 1 } as const;
    store.closeRollout(ended, { ...finished, evidence: null, verified: true }, 'nothing');
  }
  const machines: VirtualMachine[] = [];
  let now = Date.now() + ASKED_FOR + 1000;
  const clock = { now: () => now, sleep: async () => {} };
  const templates = new Map<string, Template>();
  const hypervisor = {
    list: async () => machines,
    templates: async () => [...templates.values()],
    removeTemplate: async (key: string) => void templates.delete(key),
  };
  const held: Pick<Snapshot, 'id' | 'spec'>[] = [];
  const snapshots = { all: async () => held };
  const collector = new Collector({ store, artifacts, hypervisor, snapshots, clock });
  return {
    store,
    artifacts,
    collector,
    held,
    put,
    templates,
    early: () => {
      now = Date.now();
    },
    run: (number: number) => {
      const { image, machine, volumes, checks } = store.revision('site', number) as Revision;
      const spec: InstanceSpec = {
        ...{ image, machine, volumes, checks },
        id: `site-${number}-1`,
        service: 'site',
        revision: number,
        rollout: number,
        launchedAt: 0,
      };
      machines.push({ spec, state: 'running', runState: null, endpoint: null, volumes });
    },
    kept: async (number: number) => await artifacts.has(digestText(`code ${number}`)),
  };
}

describe('the collection of artifacts', () => {
  it('removes what it says and nothing else, and a dry run removes nothing', async () => {
    const { collector, artifacts, run } = await scene(5);
    run(1);
    const before = await artifacts.list();
    const dry = await collector.collect(ASKED_FOR, true);
    expect(await artifacts.list()).toEqual(before);
    const told = await collector.collect(ASKED_FOR, false);
    expect(told).toEqual({ ...dry, dryRun: false });
    expect(told.removed.map(({ what, of }) => [what, of?.revision]).sort()).toEqual([
      ['volume code', 2],
      ['volume code', 3],
    ]);
    const removed = new Set(told.removed.map(({ name }) => name));
    const left = before.filter(({ name }) => !removed.has(name));
    expect(await artifacts.list()).toEqual(left);
    expect(told.kept.map(({ reason }) => reason).sort()).toEqual([
      'in use by site-1-1',
      'in use by site-1-1',
      'site 4: stable',
      'site 5: served',
    ]);
    expect((await collector.collect(ASKED_FOR, false)).removed).toEqual([]);
  });

  it('leaves what was put in or asked for lately: a rollout may be about to begin with it', async () => {
    const { collector, put, early, artifacts } = await scene(1);
    const digest = await put('of no revision yet');
    early();
    expect((await collector.collect(ASKED_FOR, false)).removed).toEqual([]);
    const { removed } = await collector.collect(-1000, false);
    expect(removed).toMatchObject([{ name: digest, what: 'unknown', of: null }]);
    expect(await artifacts.want(digest)).toBe(false);
  });

  it('leaves what is pinned, until it is pinned no more', async () => {
    const { collector, store, kept } = await scene(4);
    store.pin('site', 1, { by: 'ana', at: 0 });
    expect(store.revision('site', 1)?.pinned).toEqual({ by: 'ana', at: 0 });
    await collector.collect(ASKED_FOR, false);
    expect([await kept(1), await kept(2), await kept(3)]).toEqual([true, false, true]);
    store.pin('site', 1, null);
    await collector.collect(ASKED_FOR, false);
    expect(await kept(1)).toBe(false);
  });

  it('leaves what a snapshot needs, for as long as there is the snapshot', async () => {
    const { collector, store, held, kept } = await scene(4);
    const spec = store.revision('site', 1) as Revision;
    held.push({ id: 'site-1-1-then', spec });
    const { kept: stays } = await collector.collect(ASKED_FOR, false);
    expect(stays.map(({ reason }) => reason)).toContain('of snapshot site-1-1-then');
    expect([await kept(1), await kept(2)]).toEqual([true, false]);
    held.pop();
    await collector.collect(ASKED_FOR, false);
    expect(await kept(1)).toBe(false);
  });

  it('of a service that was taken down leaves only what is pinned', async () => {
    const { collector, store, artifacts } = await scene(2);
    store.removeService('site');
    store.pin('site', 1, { by: 'ana', at: 0 });
    await collector.collect(ASKED_FOR, false);
    expect(await artifacts.list()).toHaveLength(2);
  });

  it('removes the templates of revisions that are kept no more, and of services that there are none of', async () => {
    const { collector, templates } = await scene(4);
    const made = (key: string, revision: number, service = 'site') =>
      templates.set(key, { key, service, revision, bytes: 1 });
    made('old', 1);
    made('stable', 3);
    made('served', 4);
    made('lost', 4, 'shop');
    const dry = await collector.collect(ASKED_FOR, true);
    expect([...templates.keys()]).toEqual(['old', 'stable', 'served', 'lost']);
    const told = await collector.collect(ASKED_FOR, false);
    expect(told).toEqual({ ...dry, dryRun: false });
    expect(told.removed.filter(({ what }) => what === 'template').map(({ name }) => name)).toEqual([
      'old',
      'lost',
    ]);
    expect([...templates.keys()]).toEqual(['stable', 'served']);
    expect(told.kept).toContainEqual(expect.objectContaining({ name: 'stable', reason: 'site 3: stable' }));
  });

  it('leaves what a rollout under way goes back to', async () => {
    const { collector, store, kept } = await scene(4);
    store.openRollout(rollout(9, goalOf(1, 1), goalOf(4, 1)));
    await collector.collect(ASKED_FOR, false);
    expect([await kept(1), await kept(2)]).toEqual([true, false]);
  });
});
