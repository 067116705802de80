type Environment = Readonly<Record<string, string | undefined>>;

/** What a program needs to find its tools, its language and its network: no secret is called like one of these. */
const ALLOWED = new Set([
  ...['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'TERM', 'TZ', 'LANG', 'LANGUAGE', 'CI'],
  ...['TMPDIR', 'TMP', 'TEMP', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'XDG_RUNTIME_DIR'],
  ...['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'],
  ...['SSL_CERT_FILE', 'SSL_CERT_DIR', 'NODE_EXTRA_CA_CERTS'],
]);

/** `$NAME` and `${NAME…}` of a shell. */
const NAMED = /\$\{?([A-Za-z_]\w*)/g;

/**
 * The whole environment of a command that somebody has written: what every program needs, the variables that the command
 * itself names, and what is added here. A script that wants more is started with it: `TOKEN=$TOKEN ./script`.
 */
export function environmentFor(
  command: string,
  added: Readonly<Record<string, string>>,
  env: Environment = process.env,
): Record<string, string> {
  const named = new Set([...command.matchAll(NAMED)].map(([, name]) => name));
  const passed = Object.entries(env).filter(
    ([name, value]) =>
      value !== undefined && (ALLOWED.has(name) || name.startsWith('LC_') || named.has(name)),
  );
  return { ...(Object.fromEntries(passed) as Record<string, string>), ...added };
}
