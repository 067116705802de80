import { InvalidArgumentError } from 'commander';

/** Parses an argument or option that counts or numbers something. */
export function toNumber(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new InvalidArgumentError('expected a whole number above 0');
}
