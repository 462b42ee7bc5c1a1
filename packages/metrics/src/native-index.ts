// In which bucket of a native histogram a value is, exactly: from the bits of the number and a table of bounds, since
// a logarithm is wrong next to them.

/** Bounds between 1 and 2 in the finest schema, 8. Those of the others are every second, fourth, … of them. */
const finest = 256;
/** Slots that [1, 2) is cut into: narrow enough that no more than one bound is within each. */
const slots = 512;

interface Bounds {
  /** The upper 20 and the lower 32 bits of the fraction of bound `i`, for `i` from 0 to 256. */
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  /** The bucket of the smallest number of each slot. */
  readonly firstOfSlot: Uint16Array;
}

let known: Bounds | undefined;

const scratch = new Float64Array(1);
const words = new Uint32Array(scratch.buffer);
// The lower half comes first but on a few machines that Node.js runs on, too (s390x).
const lowWord = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 0 : 1;
const highWord = 1 - lowWord;

/** The index i with 2^((i-1)·2^-schema) < value <= 2^(i·2^-schema), for a finite number over 0. */
export function indexOf(value: number, schema: number): number {
  known ??= computeBounds();
  scratch[0] = value;
  let exponent = ((words[highWord] as number) >>> 20) - 1023;
  if (exponent === -1023) {
    // Subnormal: without a leading 1 until it is made larger.
    scratch[0] = value * 2 ** 52;
    exponent = ((words[highWord] as number) >>> 20) - 1023 - 52;
  }
  const high = (words[highWord] as number) & 0xfffff;
  let bucket = known.firstOfSlot[high >>> 11] as number;
  const bound = known.high[bucket] as number;
  if (high > bound || (high === bound && (words[lowWord] as number) > (known.low[bucket] as number)))
    bucket += 1;
  // Buckets of a lower schema begin and end at bounds of the finest one, so it is a division rounded up.
  const shift = 8 - schema;
  return (exponent * finest + bucket + (1 << shift) - 1) >> shift;
}

/**
 * 2^(i/256), rounded down to a double: a double is at most that if and only if it is at most the exact bound. By whole
 * numbers, because Math.pow is off by a digit here and there.
 */
function computeBounds(): Bounds {
  const precision = 200n;
  let root = 2n << precision;
  for (let times = 0; times < 8; times += 1) root = squareRoot(root << precision);
  const bounds: Bounds = {
    high: new Uint32Array(finest + 1),
    low: new Uint32Array(finest + 1),
    firstOfSlot: new Uint16Array(slots),
  };
  let power = 1n << precision;
  for (let index = 0; index < finest; index += 1) {
    const fraction = (power >> (precision - 52n)) & ((1n << 52n) - 1n);
    bounds.high[index] = Number(fraction >> 32n);
    bounds.low[index] = Number(fraction & 0xffffffffn);
    power = (power * root) >> precision;
  }
  // No fraction is over the last.
  bounds.high[finest] = 0xfffff;
  bounds.low[finest] = 0xffffffff;
  let index = 0;
  for (let slot = 0; slot < slots; slot += 1) {
    const start = slot << 11;
    while ((bounds.high[index] as number) < start) index += 1;
    bounds.firstOfSlot[slot] = index;
  }
  return bounds;
}

/** Rounded down. */
function squareRoot(square: bigint): bigint {
  let root = square;
  for (;;) {
    const next = (root + square / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}
