/** Proof that whoever acts still may: its token is higher than that of every controller before it. */
export interface Fence {
  /** rises with every controller that took the lease; 0: nobody's */
  readonly token: number;
  /**
   * To be called right before every step that changes something outside this process.
   *
   * @throws UD_FENCED once another controller has taken over
   */
  check(): void;
}

/** Where there is one controller only, and nothing to be kept from it: tests, tools, simulations. */
export const UNFENCED: Fence = { token: 0, check: () => {} };
