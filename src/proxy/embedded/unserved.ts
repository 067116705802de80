import type { Downstream, Exchanging } from './downstream.ts';
import { type Refusal, refusalAnswer } from './refusal.ts';

/** A request that no instance is asked for: it has its answer already. */
export class Unserved implements Exchanging {
  readonly #downstream: Downstream;
  readonly #refusal: Refusal;
  readonly #onAnswered: (bytes: number) => void;

  /** `onAnswered` is told the length of the body. */
  constructor(
    downstream: Downstream,
    refusal: Refusal,
    onAnswered: (bytes: number) => void = () => undefined,
  ) {
    this.#downstream = downstream;
    this.#refusal = refusal;
    this.#onAnswered = onAnswered;
  }

  start(): void {
    const { head, body } = refusalAnswer(this.#refusal);
    this.#downstream.answer(head);
    this.#downstream.write(body);
    this.#onAnswered(body.length);
    this.#downstream.end();
  }

  abandon(): void {}

  resume(): void {}
}
