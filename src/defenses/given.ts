/** What a method or a detector was given, as cards have it. */
export interface Given {
  /** The victim whole, or its shape alone where a network is trained anew. Left out on cards of before. */
  readonly victim?: 'weights' | 'shape' | undefined;
  /** Rows of the training set and clean images that it was given; null for what it does not look at. */
  readonly training: number | null;
  readonly clean: number | null;
}
