import { type ContentStore, missing, type StoredFile } from '../artifact/store.ts';
import type { Clock } from '../domain/clock.ts';
import { LOOKED_THROUGH, previousOf } from '../domain/previous.ts';
import { type Holdings, kept, needed } from '../domain/retention.ts';
import { artifactsOf, type Digest, type Revision } from '../domain/revision.ts';
import type { Snapshot } from '../domain/snapshot.ts';
import { report, UnideployError } from '../errors.ts';
import type { Hypervisor, Template } from '../hypervisor/port.ts';
import type { Store } from '../store/port.ts';
import type { Collected, CollectedFile } from './messages.ts';

/** What was put in, or asked for, so short a time ago may be wanted by a rollout that is about to begin, in ms. */
export const ASKED_FOR = 3_600_000;

interface CollectorParts {
  store: Pick<Store, 'owners' | 'revisions' | 'rollouts' | 'service' | 'openRollouts'>;
  artifacts: Pick<ContentStore, 'list' | 'remove' | 'has'>;
  hypervisor: Pick<Hypervisor, 'list' | 'templates' | 'removeTemplate'>;
  /** left out: there are none */
  snapshots?: { all(): Promise<Pick<Snapshot, 'id' | 'spec'>[]> };
  clock: Clock;
}

/** Removes the artifacts, and the templates of guests, that nothing runs, nothing may go back to and nobody has asked for lately. */
export class Collector {
  readonly #parts: CollectorParts;
  #collecting: Promise<unknown> = Promise.resolve();

  constructor(parts: CollectorParts) {
    this.#parts = parts;
  }

  /**
   * One collection at a time; a later one looks anew.
   *
   * @param unusedFor ms that an artifact must not have been asked for
   * @param dryRun tells what it would remove
   */
  async collect(unusedFor: number, dryRun: boolean): Promise<Collected> {
    const next = this.#collecting.then(() => this.#collect(unusedFor, dryRun));
    this.#collecting = next.catch(() => {});
    return await next;
  }

  /** Removes one artifact, however lately it was asked for. @throws UD_ARTIFACT_IN_USE, UD_ARTIFACT_MISSING */
  async remove(digest: Digest): Promise<void> {
    const { artifacts } = this.#parts;
    const reason = (await this.#reasons()).get(digest);
    if (reason !== undefined)
      throw new UnideployError(
        'UD_ARTIFACT_IN_USE',
        `artifact ${digest.slice(0, 12)} stays: ${reason}`,
        'unpin the revision, or roll out others until it is kept no more: unideploy gc --dry-run --all',
      );
    if (!(await artifacts.has(digest))) throw missing(digest);
    await artifacts.remove({ name: digest });
  }

  /** The same by the policy alone, as often as it likes to be done. */
  async tidy(log: (line: string) => void): Promise<void> {
    try {
      const { removed } = await this.collect(ASKED_FOR, false);
      const bytes = removed.reduce((sum, file) => sum + file.bytes, 0);
      if (removed.length > 0) log(`collected ${removed.length} artifacts, ${bytes} bytes`);
    } catch (error) {
      log(`artifacts were not collected: ${report(error).message}`);
    }
  }

  async #collect(unusedFor: number, dryRun: boolean): Promise<Collected> {
    const { artifacts, store } = this.#parts;
    // Files first: what comes in while the rest is looked at is not among them.
    const files = await artifacts.list();
    const reasons = await this.#reasons();
    const revisions = store.owners().flatMap((name) => store.revisions(name));
    const deadline = this.#parts.clock.now() - unusedFor;
    const result: Collected = { dryRun, removed: [], kept: [] };
    for (const file of files) {
      const reason =
        file.name !== file.digest
          ? null
          : (reasons.get(file.digest) ?? (file.wantedAt > deadline ? 'asked for lately' : null));
      const told = tell(file, revisions);
      if (reason !== null) result.kept.push({ ...told, reason });
      else {
        if (!dryRun) await artifacts.remove(file);
        result.removed.push(told);
      }
    }
    await this.#collectTemplates(result);
    return result;
  }

  /** A template is of use for as long as instances of its revision may be started. */
  async #collectTemplates({ dryRun, removed, kept: staying }: Collected): Promise<void> {
    const { hypervisor, store } = this.#parts;
    const templates = await hypervisor.templates();
    const reasons = new Map(store.owners().map((name) => [name, kept(this.#holdings(name))]));
    for (const template of templates) {
      const { service, revision, key } = template;
      const reason = reasons.get(service)?.get(revision);
      if (reason !== undefined) staying.push({ ...tellTemplate(template), reason });
      else {
        if (!dryRun) await hypervisor.removeTemplate(key);
        removed.push(tellTemplate(template));
      }
    }
  }

  /** Why artifacts must stay: what runs comes first, for it is the strongest. */
  async #reasons(): Promise<Map<Digest, string>> {
    const { store, hypervisor, snapshots } = this.#parts;
    const reasons = new Map<Digest, string>();
    const keep = (digest: Digest, reason: string) => reasons.has(digest) || reasons.set(digest, reason);
    for (const { spec, volumes } of await hypervisor.list())
      for (const digest of [...artifactsOf(spec), ...volumes.map((volume) => volume.digest)])
        keep(digest, `in use by ${spec.id}`);
    for (const name of store.owners())
      for (const [digest, reason] of needed(this.#holdings(name))) keep(digest, reason);
    for (const { id, spec } of (await snapshots?.all()) ?? [])
      for (const digest of artifactsOf(spec)) keep(digest, `of snapshot ${id}`);
    return reasons;
  }

  #holdings(name: string): Holdings {
    const { store } = this.#parts;
    const service = store.service(name);
    const moving = store
      .openRollouts()
      .filter((rollout) => rollout.service === name)
      .flatMap(({ from, to, among }) => [from.revision, to.revision, ...among])
      .filter((number) => number !== null);
    const revisions = store.revisions(name);
    const goal = service?.goal.revision ?? null;
    const previous = previousOf(goal, revisions, store.rollouts(name, LOOKED_THROUGH));
    return {
      revisions,
      // A service that is taken down goes back to nothing.
      keep: service?.policy.keep ?? 0,
      goal,
      previous: previous?.number ?? null,
      moving,
    };
  }
}

function tellTemplate({ key, service, revision, bytes }: Template): CollectedFile {
  return { name: key, bytes, what: 'template', of: { service, revision } };
}

/** A file, with the newest revision that it was an artifact of. */
function tell({ name, digest, bytes }: StoredFile, revisions: Revision[]): CollectedFile {
  const owners = revisions.filter(
    (revision) => artifactsOf(revision).includes(digest) || revision.build?.log === digest,
  );
  const [owner] = owners.sort((a, b) => b.createdAt - a.createdAt);
  const volume = owner?.volumes.find((each) => each.digest === digest);
  const ofOwner = volume ? `volume ${volume.name}` : owner?.build?.log === digest ? 'build log' : 'image';
  const what = name === digest ? (owner ? ofOwner : 'unknown') : 'corrupt';
  return { name, bytes, what, of: owner ? { service: owner.service, revision: owner.number } : null };
}
