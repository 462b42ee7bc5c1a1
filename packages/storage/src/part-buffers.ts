// Memory of parts on their way to an S3 server, used again and again: parts of megabytes that are left to the garbage
// collector pile up faster than it runs: an export of 300 MB took 140 MB so, and takes 35 MB.

export interface PartBuffers {
  /** Of that length, with anything in it. */
  take(bytes: number): Buffer;
  /** Only what nothing reads from any more. One that is not given back is the garbage collector's. */
  giveBack(buffer: Buffer): void;
}

/**
 * @param usualBytes the only length that is kept for later
 * @param mostFree how many are
 */
export function createPartBuffers(usualBytes: number, mostFree: number): PartBuffers {
  const free: Buffer[] = [];
  return {
    take(bytes) {
      const kept = bytes === usualBytes ? free.pop() : undefined;
      return kept ?? Buffer.allocUnsafeSlow(bytes);
    },
    giveBack(buffer) {
      if (buffer.byteLength === usualBytes && free.length < mostFree) free.push(buffer);
    },
  };
}
