import type { Drained, Figures, ListenAddress, RoutingTable, TableStatus } from '../../port.ts';
import type { BoundSocket } from './bind.ts';

/** What the processes of the data plane ask of each other. Tables in here name the port that the system gave. */

/** asked of those that serve: by the primary of its workers, and by it of the primary before it, for the workers there */
export interface ServingCalls {
  /** The service's new table (the refusals of `Plane.apply`), and the instances that checks have taken out. */
  apply(table: RoutingTable, unhealthy: string[]): void;
  /** Resolves when the last request of the service has ended, at the latest after `graceMs`. */
  remove(service: string, graceMs: number): void;
  drained(service: string, instance: string, deadlineMs: number): Drained;
}

/** asked of a worker by its primary */
export interface WorkerCalls extends ServingCalls {
  ping(): void;
  status(): TableStatus[];
  figures(service: string): Figures[];
  /** What a check says of an instance. */
  verdict(service: string, instance: string, healthy: boolean): void;
  /** Takes no more connections; resolves when those it has are done, by the newest tables. */
  leave(graceMs: number): void;
  /** Ends all services as `remove` does. */
  close(graceMs: number): void;
}

/** asked of the primary by a worker */
export interface PrimaryCalls {
  /** The socket of an address, to listen on. */
  socketAt(address: ListenAddress): BoundSocket;
  /** It cannot go on, and ends by itself when what it has under way is done: another one is to take its place. */
  failing(): void;
}

/** asked of a new primary by the one it is to replace */
export interface SuccessorCalls {
  /** Serves beside the old one; resolves when all its workers do. */
  inherit(estate: Estate): Heir;
}

/** What a primary leaves to the next. */
export interface Estate {
  /** of the newest controller that was heard; a primary of an earlier version says none */
  token?: number;
  services: { asked: ListenAddress; table: RoutingTable }[];
  /** the first is descriptor `FIRST_SOCKET` of the new process, and so on */
  sockets: { address: ListenAddress; users: string[] }[];
}

export interface Heir {
  pid: number;
  /** where it listens for control; to be given the well-known name */
  socket: string;
}

/** After standard input, output, error, and the channel. */
export const FIRST_SOCKET = 4;
