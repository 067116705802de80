/** CLOCK_MONOTONIC in milliseconds: since the boot, the same for all processes, and it goes on while they are stopped. */
export function monotonic(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}
