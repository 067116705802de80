import type { Secrets } from '../../secrets.ts';
import type { Renderer } from './renderer.ts';

/** A renderer that shows no secret that anybody has said. */
export function veiledRenderer(renderer: Renderer, { veil, veilAll }: Secrets): Renderer {
  return {
    build: (line) => renderer.build(veil(line)),
    entry: (entry) => renderer.entry(veilAll(entry)),
    progress: (what, progress) => renderer.progress(veil(what), progress),
    note: (text) => renderer.note(veil(text)),
    end: (result) => renderer.end(veilAll(result)),
    error: (error) => renderer.error(veilAll(error)),
  };
}
