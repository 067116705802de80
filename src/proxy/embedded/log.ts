/** Where a plane tells what it does. */
export type Log = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields?: Record<string, unknown>,
) => void;

/** Writes a line of JSON to standard error; the process that starts the data plane sends it to DIR/proxy.log. */
export const logToStderr: Log = (level, message, fields) => {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`);
};
