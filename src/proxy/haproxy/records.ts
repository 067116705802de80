import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isHostTrouble } from '../../errors.ts';
import type { ListenAddress, RoutingTable } from '../port.ts';
import { short } from './names.ts';
import type { Totals } from './totals.ts';

/** What HAProxy itself does not know of a process, and a later controller needs. */
export interface ProcessRecord {
  /** the first part of the names of its files */
  id: string;
  /** 0 until it has been started */
  pid: number;
  role: 'starting' | 'serving' | 'leaving';
  /** the port as the system gave it */
  listen: ListenAddress;
  /** when it was made, in milliseconds: of two that serve one address, the younger one does */
  since: number;
  services: Served[];
}

/** A service of a process. */
export interface Served {
  /** the address asked for; its port may be 0 */
  asked: ListenAddress;
  /** the table in force, the port as the system gave it */
  table: RoutingTable;
  /** what processes before this one counted */
  before: Totals;
  /** drains that have ended */
  drains: number;
}

/** The files of one HAProxy process. */
export interface ProcessFiles {
  config: string;
  script: string;
  socket: string;
  log: string;
  record: string;
  /** which certificate is for which host */
  certificates: string;
  /** the named pipe for what HAProxy tells of its requests, one for all processes */
  lines: string;
  /** what the names of the files of its services begin with */
  own: string;
}

/** A name for the files of a process that serves this service; short, for the socket's path is bounded. */
export function newId(service: string): string {
  const readable = service
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '')
    .slice(0, 8);
  return `${readable}-${randomBytes(3).toString('hex')}`;
}

export function processFiles(folder: string, id: string): ProcessFiles {
  const file = (ending: string) => join(folder, `${id}.${ending}`);
  return {
    config: file('cfg'),
    script: file('lua'),
    socket: file('sock'),
    log: file('log'),
    record: file('json'),
    certificates: file('crt'),
    lines: linesPipe(folder),
    own: join(folder, id),
  };
}

export function linesPipe(folder: string): string {
  return `${folder}.fifo`;
}

/** A service's map: where its cookies lead, and whether it has a preview. */
export function mapFile({ own }: ProcessFiles, service: string): string {
  return `${own}.${short(service)}.map`;
}

/** The process's copy of a service's certificate and key. */
export function certificateFile({ own }: ProcessFiles, service: string): string {
  return `${own}.${short(service)}.pem`;
}

/** Nobody ever reads half a record: written beside it, then renamed over it, if `expectCommand` lets it. */
export async function writeRecord(
  folder: string,
  record: ProcessRecord,
  expectCommand: () => void,
): Promise<void> {
  const { record: file } = processFiles(folder, record.id);
  const fresh = `${file}.${process.pid}.new`;
  expectCommand();
  await writeFile(fresh, JSON.stringify(record, null, 2), { mode: 0o600 });
  expectCommand();
  await rename(fresh, file);
}

export async function readRecords(folder: string): Promise<ProcessRecord[]> {
  const names = await readdir(folder).catch((error: unknown) => unlessOurs(error) ?? []);
  const records = await Promise.all(
    names
      .filter((name) => name.endsWith('.json'))
      // one that is removed meanwhile is none
      .map(async (name) => {
        const text = await readFile(join(folder, name), 'utf8').catch(unlessOurs);
        return text === null ? null : parsed(text, name.slice(0, -'.json'.length));
      }),
  );
  return records.filter((record) => record !== null);
}

/** Null for what is not there; a host that can open no more files has found nothing out. */
function unlessOurs(error: unknown): null {
  if (isHostTrouble(error)) throw error;
  return null;
}

/** A torn record is as good as that of a process which is only starting: it ends, and its tables are applied again. */
function parsed(text: string, id: string): ProcessRecord {
  try {
    const record = JSON.parse(text) as ProcessRecord;
    if (record.id === id && Array.isArray(record.services)) return record;
  } catch {
    // what is left of it says nothing
  }
  return { id, pid: 0, role: 'starting', listen: { host: '127.0.0.1', port: 0 }, since: 0, services: [] };
}

/** Forgets a process that has ended. */
export async function removeFiles(folder: string, id: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  const own = names.filter((name) => name.startsWith(`${id}.`));
  await Promise.all(own.map((name) => rm(join(folder, name), { force: true })));
}

/** What a process has of a service. */
export function servedBy({ services }: ProcessRecord, service: string): Served | undefined {
  return services.find(({ table }) => table.service === service);
}

/** The tables that processes serve by which were told to, without asking or changing them. */
export async function tablesOnDisk(folder: string): Promise<RoutingTable[]> {
  const serving = (await readRecords(folder)).filter(({ role }) => role === 'serving');
  return serving.flatMap(({ services }) => services.map(({ table }) => table));
}
