// Bounds for the classic buckets of a histogram, with the signatures of the official client.

/** `count` bounds, each `width` more than the one before. @throws RangeError for bounds that would not ascend */
export function linearBuckets(start: number, width: number, count: number): number[] {
  checkCount(count);
  if (!(width > 0)) throw new RangeError(`got a width of ${width}, accepts one above 0`);
  return Array.from({ length: count }, (_, index) => start + index * width);
}

/** `count` bounds, each `factor` times the one before. @throws RangeError for bounds that would not ascend */
export function exponentialBuckets(start: number, factor: number, count: number): number[] {
  checkCount(count);
  if (!(start > 0)) throw new RangeError(`got a start of ${start}, accepts one above 0`);
  if (!(factor > 1)) throw new RangeError(`got a factor of ${factor}, accepts one above 1`);
  const bounds: number[] = [];
  for (let bound = start; bounds.length < count; bound *= factor) bounds.push(bound);
  return bounds;
}

function checkCount(count: number): void {
  if (!(Number.isInteger(count) && count >= 1))
    throw new RangeError(`got ${count} buckets, accepts a whole number from 1 on`);
}
