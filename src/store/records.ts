import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Revision } from '../domain/revision.ts';
import { readRevision, readService } from './earlier.ts';
import type { Service, Store } from './port.ts';

/** What stands beside the database in plain JSON, a file for each service and each revision: enough to rebuild it from. */
export interface Records {
  services: Service[];
  revisions: Revision[];
  /** number of the last rollout, by service */
  lastRollout: ReadonlyMap<string, number>;
}

/** A service, and the number of its last rollout. */
interface ServiceRecord extends Service {
  rollout?: number;
}

/**
 * The same store, which also writes down what a service was last told to be and every revision it ever had. A record that
 * cannot be written changes nothing: the store is what counts, and says what is wrong with the disk.
 */
export function recording(store: Store, folder: string): Store {
  const serviceFile = (name: string) => join(folder, name, 'service.json');
  const writeService = (name: string) => {
    const service = store.service(name);
    const [last] = store.rollouts(name, 1);
    if (service) write(serviceFile(name), { ...service, rollout: last?.id ?? 0 } satisfies ServiceRecord);
    else forget(serviceFile(name));
  };
  const writeRevision = (revision: Revision | null) => {
    if (revision) write(join(folder, revision.service, `${revision.number}.json`), revision);
  };
  // Of states that earlier versions began.
  for (const { name } of store.services().filter((service) => !existsSync(serviceFile(service.name)))) {
    writeService(name);
    for (const revision of store.revisions(name)) writeRevision(revision);
  }
  return {
    ...store,
    putService(service) {
      store.putService(service);
      writeService(service.name);
    },
    removeService(name) {
      store.removeService(name);
      writeService(name);
    },
    addRevision(revision) {
      const added = store.addRevision(revision);
      writeRevision(added);
      return added;
    },
    pin(service, number, pin) {
      store.pin(service, number, pin);
      writeRevision(store.revision(service, number));
    },
    openRollout(rollout) {
      const opened = store.openRollout(rollout);
      writeService(opened.service);
      return opened;
    },
    closeRollout(rollout, happening, left) {
      store.closeRollout(rollout, happening, left);
      writeService(rollout.service);
      const { revision } = rollout.to;
      if (rollout.state === 'succeeded' && revision !== null)
        writeRevision(store.revision(rollout.service, revision));
    },
  };
}

/** Every record that can be read; one that is torn is left out. */
export function readRecords(folder: string): Records {
  const [services, revisions, lastRollout] = [[] as Service[], [] as Revision[], new Map<string, number>()];
  for (const name of namesIn(folder))
    for (const file of namesIn(join(folder, name))) {
      const record = read(join(folder, name, file));
      if (record === null) continue;
      if (/^\d+\.json$/.test(file)) revisions.push(readRevision(record as Revision));
      if (file !== 'service.json') continue;
      const { rollout = 0, ...service } = record as ServiceRecord;
      services.push(readService(service));
      lastRollout.set(name, rollout);
    }
  return { services, revisions, lastRollout };
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function read(file: string): object | null {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

function write(file: string, value: unknown): void {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(`${file}.new`, JSON.stringify(value, null, 2), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  } catch {
    // the store has it
  }
}

function forget(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // it says what the service was: whoever rebuilds the state from it is told that nothing of it runs
  }
}
