const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const HOST_NAME = 0;
/** bytes of a ClientHello with its records: more than any client sends */
const LONGEST = 32_768;

/**
 * The host that a TLS client asks for (RFC 6066 section 3), from the first bytes it sends: '' where it asks for none, or
 * where they are no ClientHello (RFC 8446 section 4.1.2), which is left to TLS to refuse; undefined: there is more to come.
 */
export function helloName(bytes: Buffer): string | undefined {
  const message = handshake(bytes);
  if (message === 'more') return undefined;
  try {
    return message === undefined ? '' : serverName(message);
  } catch (error) {
    // a length that leads out of the message
    if (error instanceof RangeError) return '';
    throw error;
  }
}

/** The body of the ClientHello, which may come in several records. */
function handshake(bytes: Buffer): Buffer | 'more' | undefined {
  if (bytes.length > LONGEST) return undefined;
  const message = Buffer.alloc(bytes.length);
  let filled = 0;
  for (let at = 0; ; ) {
    if (at < bytes.length && bytes[at] !== HANDSHAKE) return undefined;
    if (at + 5 > bytes.length) return 'more';
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0) return undefined;
    filled += bytes.copy(message, filled, at + 5, at + 5 + length);
    if (filled > 0 && message[0] !== CLIENT_HELLO) return undefined;
    if (filled >= 4) {
      const end = 4 + message.readUIntBE(1, 3);
      if (end > LONGEST) return undefined;
      if (filled >= end) return message.subarray(4, end);
    }
    at += 5 + length;
  }
}

function serverName(hello: Buffer): string {
  // version and random
  let at = 2 + 32;
  // session, cipher suites, compression methods
  at += 1 + hello.readUInt8(at);
  at += 2 + hello.readUInt16BE(at);
  at += 1 + hello.readUInt8(at);
  if (at === hello.length) return '';
  const end = at + 2 + hello.readUInt16BE(at);
  for (at += 2; at < end; ) {
    const type = hello.readUInt16BE(at);
    const length = hello.readUInt16BE(at + 2);
    at += 4;
    // a list of one: no other type of name was ever defined
    if (type === SERVER_NAME && hello.readUInt8(at + 2) === HOST_NAME)
      return hello.toString('latin1', at + 5, at + 5 + hello.readUInt16BE(at + 3));
    at += length;
  }
  return '';
}
