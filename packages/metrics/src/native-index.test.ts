import fc from "fast-check";
import { expect, test } from "vitest";
import { indexOf } from "./native-index.ts";

const schemas = [-4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const anySchema = fc.constantFrom(...schemas);
const anyPositive = fc.double({ min: 5e-324, max: Number.MAX_VALUE, noNaN: true });

/** A double as a whole number times a power of 2. */
function exact(value: number): { readonly whole: bigint; readonly exponent: number } {
  const bits = new BigUint64Array(Float64Array.of(value).buffer)[0] as bigint;
  const exponent = Number(bits >> 52n) & 0x7ff;
  const fraction = bits & ((1n << 52n) - 1n);
  return exponent === 0
    ? { whole: fraction, exponent: -1074 }
    : { whole: fraction | (1n << 52n), exponent: exponent - 1075 };
}

/** Whether value <= 2^(index·2^-schema): both sides raised to whole numbers, so that nothing is rounded. */
function isAtMostBound(value: number, index: number, schema: number): boolean {
  const power = schema > 0 ? 2 ** schema : 1;
  const { whole, exponent } = exact(value);
  const boundExponent = schema > 0 ? index : index * 2 ** -schema;
  const shift = exponent * power - boundExponent;
  const raised = whole ** BigInt(power);
  return shift >= 0 ? raised << BigInt(shift) <= 1n : raised <= 1n << BigInt(-shift);
}

function expectInBucket(value: number, schema: number): void {
  const index = indexOf(value, schema);
  if (!isAtMostBound(value, index, schema) || isAtMostBound(value, index - 1, schema))
    expect.fail(`${value} is not in the bucket ${index} of schema ${schema}`);
}

/** The next doubles, `steps` up or down. */
function neighbor(value: number, steps: number): number {
  const bits = new BigInt64Array(Float64Array.of(value).buffer);
  (bits[0] as bigint) += BigInt(steps);
  return new Float64Array(bits.buffer)[0] as number;
}

test("a value is over the bound before its bucket's and at most its own, exactly", () => {
  fc.assert(fc.property(anyPositive, anySchema, expectInBucket), { numRuns: 2000 });
});

test("the same holds for the doubles around every bound of the finest schema", () => {
  for (let index = -256; index <= 512; index += 1) {
    for (const steps of [-3, -2, -1, 0, 1, 2, 3]) {
      const value = neighbor(2 ** (index / 256), steps);
      expectInBucket(value, 8);
      expectInBucket(value, 3);
    }
  }
});

test("powers of 2 are in the bucket that ends with them, at each schema", () => {
  for (const schema of schemas) {
    for (const exponent of [-1074, -1073, -1023, -1022, -128, -1, 0, 1, 2, 1023]) {
      expect(indexOf(2 ** exponent, schema)).toBe(Math.ceil(exponent * 2 ** schema) + 0);
      expectInBucket(2 ** exponent, schema);
    }
  }
});

test("the smallest and the largest numbers have buckets", () => {
  for (const schema of schemas) {
    for (const value of [5e-324, 1e-323, 2.2250738585072009e-308, 1.7e308, Number.MAX_VALUE])
      expectInBucket(value, schema);
    // client_golang's getLe, histogram_test.go: the last bucket that is not for infinity.
    expect(indexOf(Number.MAX_VALUE, schema)).toBe(1024 * 2 ** schema);
  }
});

test("bounds that client_golang's tests name are in their buckets (TestGetLe, v1.25.0)", () => {
  for (const [index, schema, bound] of [
    [-1, -1, 0.25],
    [0, -1, 1],
    [1, -1, 4],
    [512, -1, Number.MAX_VALUE],
    [-1, 0, 0.5],
    [0, 0, 1],
    [1, 0, 2],
    [1024, 0, Number.MAX_VALUE],
    [-1, 2, 0.8408964152537144],
    [0, 2, 1],
    [1, 2, 1.189207115002721],
    [4096, 2, Number.MAX_VALUE],
  ] as const)
    expect(indexOf(bound, schema)).toBe(index);
});
