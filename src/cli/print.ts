/** A line of a command's own output. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
