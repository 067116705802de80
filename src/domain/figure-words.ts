import type { Figure } from './analysis.ts';

/** A figure of the data plane as people read it: `4.8%`, `24.3 ms`, `3,700`; any other number as it is. */
export function inWords(figure: Figure | null, value: number): string {
  switch (figure) {
    case null:
      return `${short(value, 6)}`;
    case 'requests':
      return grouped(value);
    case 'error-rate':
      return percentage(value * 100);
    default:
      return value < 1 ? `${short(value * 1000, 3)} ms` : `${short(value, 3)} s`;
  }
}

/** `3,700` */
export function grouped(count: number): string {
  return count.toLocaleString('en-GB');
}

function percentage(value: number): string {
  return `${value > 0 && value < 0.1 ? short(value, 2) : Number(value.toFixed(2))}%`;
}

function short(value: number, digits: number): number {
  return Number(value.toPrecision(digits));
}
