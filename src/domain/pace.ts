/** One swap as it went. */
export interface Swapped {
  /** guests that were being swapped when it had begun, this one among them */
  beside: number;
  /** milliseconds of its own */
  ms: number;
}

/** Guests swapped at once at first: a volume that is no good meets no more of them, and two processors are busy with them. */
const FIRST = 4;
/** The most at once, whatever they gain. */
const MOST = 16;
/** Swaps by which a number is judged, at least. */
const SAMPLE = 10;
/** How much of a higher number has to come out of it: with so many more at once, so much of that sooner. */
const GAIN = 0.4;

/**
 * How many guests to swap at once, by how the swaps so far went, in the order of their ends: more by half as long as more get done
 * in the same time. Once more at once only makes each one slower, the number before is kept.
 */
export function parallelism(swapped: readonly Swapped[]): number {
  let width = FIRST;
  let best = { width, rate: 0 };
  let sample: number[] = [];
  // The first ones meet guests and caches that have rested.
  for (const { beside, ms } of swapped.slice(FIRST)) {
    // Begun when there were fewer at once: it tells nothing of this number.
    if (beside < width) continue;
    sample.push(ms);
    if (sample.length < Math.max(SAMPLE, width)) continue;
    const rate = width / (sample.reduce((sum, each) => sum + each, 0) / sample.length);
    if (rate <= best.rate * (1 + GAIN * (width / best.width - 1))) return best.width;
    best = { width, rate };
    width = Math.min(MOST, width + Math.ceil(width / 2));
    if (width === best.width) return width;
    sample = [];
  }
  return width;
}
