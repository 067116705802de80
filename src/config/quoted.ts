/** A text of the config as it may stand in a message: its beginning, where it is long. */
export function quoted(text: string): string {
  const whole = JSON.stringify(text);
  return whole.length > 60 ? `${whole.slice(0, 57)}…"` : whole;
}
