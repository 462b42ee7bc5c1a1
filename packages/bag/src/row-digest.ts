// The digest of rows that tells whether a part has exactly the rows that the database has, in any order: the sum modulo
// 2^64 of what PostgreSQL's hashtextextended(line, 0) gives for each. The hash is Bob Jenkins' lookup3 as PostgreSQL has
// it, `hash_bytes_extended` in src/common/hashfn.c, with a seed of 0 and little-endian words. It is no cryptographic
// hash: it finds what was lost or garbled, and SHA-256 with a signature finds what was forged.

/** Hashes rows and sums their hashes. */
export interface RowDigest {
  /** A row that is whole in a buffer. */
  add(buffer: Buffer, start: number, end: number): void;
  /** A row of which the length is known and the bytes come in pieces; `endPieces` ends it. */
  beginPieces(length: number): void;
  piece(buffer: Buffer, start: number, end: number): void;
  endPieces(): void;
  /** Since the last reset. */
  readonly rows: number;
  /** Modulo 2^64, since the last reset. */
  readonly sum: bigint;
  reset(): void;
}

// Sums of so many numbers of 32 bits are exact in a double.
const rowsOfExactSum = 2 ** 20;

// 3923095 is PostgreSQL's own addition to the golden ratio of lookup3.
const initialState = 0x9e3779b9 + 3_923_095;

const wordsBytes = 12;

export function createRowDigest(): RowDigest {
  let rows = 0;
  let sum = 0n;
  // Of the upper halves, which are taken as signed, and of the lower halves, for the rows that are not in `sum` yet.
  let upper = 0;
  let lower = 0;
  let unsummed = 0;

  // The row that comes in pieces: the state of its hash, and the bytes that do not fill three words yet.
  let a = 0;
  let b = 0;
  let c = 0;
  let missing = 0;
  const rest = Buffer.alloc(wordsBytes);
  let restBytes = 0;

  // Mixes all full triples of words from `p` on and returns where it stopped.
  function mix(buffer: Buffer, start: number, end: number): number {
    let p = start;
    let x = a;
    let y = b;
    let z = c;
    while (end - p >= wordsBytes) {
      x = (x + word(buffer, p)) | 0;
      y = (y + word(buffer, p + 4)) | 0;
      z = (z + word(buffer, p + 8)) | 0;
      x = (x - z) | 0;
      x ^= (z << 4) | (z >>> 28);
      z = (z + y) | 0;
      y = (y - x) | 0;
      y ^= (x << 6) | (x >>> 26);
      x = (x + z) | 0;
      z = (z - y) | 0;
      z ^= (y << 8) | (y >>> 24);
      y = (y + x) | 0;
      x = (x - z) | 0;
      x ^= (z << 16) | (z >>> 16);
      z = (z + y) | 0;
      y = (y - x) | 0;
      y ^= (x << 19) | (x >>> 13);
      x = (x + z) | 0;
      z = (z - y) | 0;
      z ^= (y << 4) | (y >>> 28);
      y = (y + x) | 0;
      p += wordsBytes;
    }
    a = x;
    b = y;
    c = z;
    return p;
  }

  // The last bytes, fewer than three words, and the end of the hash. The lowest byte of `c` is left out by lookup3.
  function finish(buffer: Buffer, start: number, bytes: number): void {
    let x = a;
    let y = b;
    let z = c;
    for (let i = bytes - 1; i >= 8; i--) z = (z + ((buffer[start + i] as number) << ((i - 7) * 8))) | 0;
    for (let i = Math.min(bytes, 8) - 1; i >= 4; i--)
      y = (y + ((buffer[start + i] as number) << ((i - 4) * 8))) | 0;
    for (let i = Math.min(bytes, 4) - 1; i >= 0; i--)
      x = (x + ((buffer[start + i] as number) << (i * 8))) | 0;
    z ^= y;
    z = (z - ((y << 14) | (y >>> 18))) | 0;
    x ^= z;
    x = (x - ((z << 11) | (z >>> 21))) | 0;
    y ^= x;
    y = (y - ((x << 25) | (x >>> 7))) | 0;
    z ^= y;
    z = (z - ((y << 16) | (y >>> 16))) | 0;
    x ^= z;
    x = (x - ((z << 4) | (z >>> 28))) | 0;
    y ^= x;
    y = (y - ((x << 14) | (x >>> 18))) | 0;
    z ^= y;
    z = (z - ((y << 24) | (y >>> 8))) | 0;
    upper += y;
    lower += z >>> 0;
    rows += 1;
    unsummed += 1;
    if (unsummed === rowsOfExactSum) addUp();
  }

  function addUp(): void {
    sum = BigInt.asUintN(64, sum + BigInt(upper) * 0x1_0000_0000n + BigInt(lower));
    upper = 0;
    lower = 0;
    unsummed = 0;
  }

  function begin(length: number): void {
    a = (initialState + length) | 0;
    b = a;
    c = a;
  }

  return {
    add(buffer, start, end) {
      begin(end - start);
      const p = mix(buffer, start, end);
      finish(buffer, p, end - p);
    },
    beginPieces(length) {
      begin(length);
      missing = length;
      restBytes = 0;
    },
    piece(buffer, start, end) {
      missing -= end - start;
      let p = start;
      if (restBytes > 0) {
        const taken = Math.min(wordsBytes - restBytes, end - p);
        buffer.copy(rest, restBytes, p, p + taken);
        restBytes += taken;
        p += taken;
        if (restBytes < wordsBytes) return;
        mix(rest, 0, wordsBytes);
      }
      p = mix(buffer, p, end);
      restBytes = buffer.copy(rest, 0, p, end);
    },
    endPieces() {
      if (missing !== 0) throw new RangeError(`the pieces of a row lack ${missing} bytes of its length`);
      finish(rest, 0, restBytes);
    },
    get rows() {
      return rows;
    },
    get sum() {
      addUp();
      return sum;
    },
    reset() {
      addUp();
      rows = 0;
      sum = 0n;
    },
  };
}

function word(buffer: Buffer, p: number): number {
  return (
    (buffer[p] as number) |
    ((buffer[p + 1] as number) << 8) |
    ((buffer[p + 2] as number) << 16) |
    ((buffer[p + 3] as number) << 24)
  );
}

/** As export.json has it: 16 hexadecimal digits. */
export function formatDigest(sum: bigint): string {
  return BigInt.asUintN(64, sum).toString(16).padStart(16, "0");
}

/** A sum of hashes as PostgreSQL gives it, a numeric as text, modulo 2^64. */
export function sumOfNumeric(text: string): bigint {
  if (!/^-?\d+$/.test(text)) throw new TypeError(`not a sum of hashes: ${text}`);
  return BigInt.asUintN(64, BigInt(text));
}
