// Which traces are kept by chance: consistent probability sampling over the 56 random bits of a trace id, as
// https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/ has it.

/** Hex digits of a trace id that are random, in W3C's level 2 of trace context. */
const randomDigits = 14;

/**
 * Chooses a share of ids.
 *
 * @param ratio from 0 to 1
 * @returns whether an id of 32 hex digits, the last 14 of them random, is chosen
 */
export function createSampler(ratio: number): (id: string) => boolean {
  if (ratio >= 1) return () => true;
  // Near 2^56 numbers have no place for ones.
  const chosen = BigInt(Math.round(ratio * 2 ** 56));
  // A share that 56 bits cannot tell from none.
  if (chosen === 0n) return () => false;
  const threshold = (2n ** 56n - chosen).toString(16).padStart(randomDigits, "0");
  // Digits of one length compare as their numbers do.
  return (id) => id.slice(-randomDigits) >= threshold;
}
