/** A text as one word of the configuration, taken literally. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** An answer of HAProxy's own, as the rules that refuse and return take it; `reason` as in the embedded data plane. */
export function answer(status: number, reason: string, message: string): string {
  const retryAfter = status === 503 ? ' hdr Retry-After 1' : '';
  return `status ${status} content-type 'text/plain; charset=utf-8' string "${message}\\n" hdr X-Unideploy-Proxy ${reason}${retryAfter}`;
}
