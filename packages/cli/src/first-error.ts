// What went wrong first. When closing things fails after that, the runtime wraps both into a SuppressedError, whose own
// message says nothing.

export function firstError(error: unknown): unknown {
  return error instanceof SuppressedError ? firstError(error.suppressed) : error;
}
