/** How far a long job is, bytes. `total` is 0 while it is not known, and may grow. */
export interface Progress {
  done: number;
  total: number;
}
