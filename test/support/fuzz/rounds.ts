/** How many cases are tried: so many in CI, and UNIDEPLOY_FUZZ times as many where somebody has the time. */
export function rounds(inCi: number): number {
  return Math.ceil(inCi * Number(process.env.UNIDEPLOY_FUZZ ?? 1));
}
