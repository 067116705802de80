import type { Figure, Measurement } from '../domain/analysis.ts';
import { grouped, inWords } from '../domain/figure-words.ts';
import type { DataPlane, Figures } from '../proxy/port.ts';
import { answering } from './deadline.ts';
import type { Gauge, Subject } from './port.ts';
import { figureOf, grown, NOTHING, plus, type Reading, type Tally, tallyOf } from './tally.ts';

/** How long the data plane may take to say what it has counted, ms. */
const DEADLINE = 10_000;
/** Requests of the stable revision in the same time, below which all that it has ever answered is compared with. */
const FEWEST_COMPARED = 50;

/** Compares what the data plane has counted of both revisions since the gauge was opened. */
export async function openFigures(
  dataPlane: Pick<DataPlane, 'figures'>,
  figure: Figure,
  subject: Subject,
): Promise<Gauge> {
  const read = (signal: AbortSignal) =>
    answering(DEADLINE, signal, async () => await dataPlane.figures(subject.service));
  const gauge = new FiguresGauge(figure, subject, await read(new AbortController().signal));
  return { measure: async (signal) => gauge.read(await read(signal)) };
}

/** Adds up what each instance has counted between two readings: counters begin again when the data plane is upgraded. */
class FiguresGauge {
  readonly #figure: Figure;
  readonly #subject: Subject;
  readonly #last = new Map<string, Tally>();
  /** by revision */
  readonly #since = new Map<number, Tally>();
  /** what the stable revision had answered when it was opened */
  readonly #before: Tally;

  constructor(figure: Figure, subject: Subject, figures: readonly Figures[]) {
    this.#figure = figure;
    this.#subject = subject;
    for (const each of figures) this.#last.set(keyOf(each), tallyOf(each));
    this.#before = figures
      .filter(({ revision }) => revision === subject.stable)
      .map(tallyOf)
      .reduce(plus, NOTHING);
  }

  read(figures: readonly Figures[]): Measurement {
    for (const each of figures) this.#add(each);
    const { revision, stable } = this.#subject;
    const own = figureOf(this.#figure, this.#of(revision));
    const other = stable === null ? null : this.#compared(this.#of(stable));
    const said = this.#words(own, ' requests') + (other ? `, stable ${this.#words(other, '')}` : '');
    return { value: own.value, stable: other?.value ?? null, sample: own.sample, verdict: null, said };
  }

  #add(figures: Figures): void {
    const key = keyOf(figures);
    const now = tallyOf(figures);
    const growth = grown(this.#last.get(key) ?? NOTHING, now);
    this.#last.set(key, now);
    this.#since.set(figures.revision, plus(this.#of(figures.revision), growth));
  }

  #of(revision: number): Tally {
    return this.#since.get(revision) ?? NOTHING;
  }

  /** Once everything goes to the new revision, the stable one can only be compared as it was. */
  #compared(since: Tally): Compared {
    const ever = this.#figure !== 'requests' && since.requests < FEWEST_COMPARED && this.#before.requests > 0;
    return { ...figureOf(this.#figure, ever ? plus(this.#before, since) : since), ever };
  }

  #words({ value, sample, ever = false }: Compared, unit: string): string {
    if (this.#figure === 'requests') return `${grouped(sample)}${unit}`;
    if (value === null) return 'of no requests';
    return `${inWords(this.#figure, value)} of ${grouped(sample)}${unit}${ever ? ' ever' : ''}`;
  }
}

interface Compared extends Reading {
  /** of all that the revision has answered, not since the analysis began */
  ever?: boolean;
}

function keyOf({ instance, revision }: Figures): string {
  return `${instance} ${revision}`;
}
