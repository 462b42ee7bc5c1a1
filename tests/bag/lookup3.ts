// PostgreSQL's hashtextextended(text, 0) the slow and plain way, after hash_bytes_extended of src/common/hashfn.c.

/** As an unsigned number of 64 bits. */
export function lookup3(key: Uint8Array): bigint {
  const state = new Uint32Array(3).fill(0x9e3779b9 + key.length + 3923095);
  const u32 = (index: number): number => state[index] as number;
  const rotate = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits));
  const [a, b, c] = [0, 1, 2] as const;
  let k = 0;
  for (; key.length - k >= 12; k += 12) {
    const words = new DataView(key.buffer, key.byteOffset + k, 12);
    for (const word of [a, b, c]) state[word] = u32(word) + words.getUint32(4 * word, true);
    for (const [x, y, z, bits] of [
      [a, c, b, 4],
      [b, a, c, 6],
      [c, b, a, 8],
      [a, c, b, 16],
      [b, a, c, 19],
      [c, b, a, 4],
    ] as const) {
      state[x] = (u32(x) - u32(y)) ^ rotate(u32(y), bits);
      state[y] = u32(y) + u32(z);
    }
  }
  // The lowest byte of c is kept for the length.
  for (const [index, byte] of key.subarray(k).entries()) {
    const at = index < 8 ? index : index + 1;
    state[at >> 2] = u32(at >> 2) + byte * 2 ** (8 * (at & 3));
  }
  for (const [x, y, bits] of [
    [c, b, 14],
    [a, c, 11],
    [b, a, 25],
    [c, b, 16],
    [a, c, 4],
    [b, a, 14],
    [c, b, 24],
  ] as const)
    state[x] = (u32(x) ^ u32(y)) - rotate(u32(y), bits);
  return (BigInt(u32(b)) << 32n) | BigInt(u32(c));
}
