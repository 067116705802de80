import type { Fields } from './http1/llhttp.ts';

/** Follows an event stream, to know where an event ends (an empty line); undefined where the answer is none. */
export function events(head: Fields): EventStream | undefined {
  for (let i = 0; i < head.count; i++)
    if (head.name(i).toLowerCase() === 'content-type')
      return head.value(i).toLowerCase().startsWith('text/event-stream') ? new EventStream() : undefined;
  return undefined;
}

class EventStream {
  /** whether all that was read is whole events */
  between = true;
  #last = '';

  /** Returns how many bytes of the piece belong to events that are whole; 0 where none has ended in it. */
  read(piece: Buffer): number {
    const text = this.#last + piece.toString('latin1');
    let whole = 0;
    for (const end of text.matchAll(/\r\n\r\n|\n\n|\r\r/g))
      whole = end.index + end[0].length - this.#last.length;
    this.between = whole === piece.length;
    this.#last = text.slice(-3);
    return Math.max(0, whole);
  }
}
