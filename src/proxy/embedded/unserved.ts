import type { Downstream, Exchanging } from './downstream.ts';
import { type Refusal, refusalAnswer } from './refusal.ts';

/** A request that no service is asked for: it has its answer already. */
export class Unserved implements Exchanging {
  readonly #downstream: Downstream;
  readonly #refusal: Refusal;

  constructor(downstream: Downstream, refusal: Refusal) {
    this.#downstream = downstream;
    this.#refusal = refusal;
  }

  start(): void {
    const { head, body } = refusalAnswer(this.#refusal);
    this.#downstream.answer(head);
    this.#downstream.write(body);
    this.#downstream.end();
  }

  abandon(): void {}

  resume(): void {}
}
