// Writes protobuf fields as bytes, in chunks, without objects in between: https://protobuf.dev/programming-guides/encoding/
// It is told how long a nested message will about be, and moves its bytes when its length takes more room.

/** Small enough to be copied within the time of a slice, large enough that a scrape has few of them. */
const chunkSize = 64 * 1024;
/** Room that an item should have in its chunk, so that few items have to be moved to the next one. */
const roomForItem = 4 * 1024;
/** Up to so many characters a loop is faster than a call of what writes any text. */
const shortText = 64;

const utf8 = new TextEncoder();

export class ProtobufWriter {
  /** Where the next byte goes in the chunk that is being filled. */
  position = 0;
  /** Bytes of all chunks that were full before, those that were taken away included. */
  fullBytes = 0;
  readonly #full: Uint8Array[] = [];
  #bytes = newChunk(chunkSize);
  #view = new DataView(this.#bytes.buffer);
  #itemStart = 0;

  /** Begins what must not be spread over two chunks. */
  beginItem(): void {
    // One that an item made larger is full, too: else it would be made larger, and copied, again and again.
    if (this.#bytes.length - this.position < roomForItem || this.#bytes.length > chunkSize) {
      this.#full.push(this.#bytes.subarray(0, this.position));
      this.fullBytes += this.position;
      this.#replace(newChunk(chunkSize));
      this.position = 0;
    }
    this.#itemStart = this.position;
  }

  /** Makes room for so many bytes. To be called before numbers and raw bytes, which do not ask for it themselves. */
  reserve(size: number): void {
    if (this.position + size <= this.#bytes.length) return;
    // The item is larger than its chunk: it gets one of its own, in which it begins where it did.
    const larger = newChunk(Math.max(this.#bytes.length * 2, this.position + size + chunkSize));
    larger.set(this.#bytes.subarray(0, this.position));
    this.#replace(larger);
  }

  /** Forgets what was written of the item. */
  dropItem(): void {
    this.position = this.#itemStart;
  }

  /** A byte: a field's tag, or a number under 128. */
  byte(value: number): void {
    this.#bytes[this.position] = value;
    this.position += 1;
  }

  /** A whole number from 0 on, up to 2^53, in 8 bytes at most. */
  varint(value: number): void {
    const bytes = this.#bytes;
    let { position } = this;
    let rest = value;
    while (rest > 0x7fffffff) {
      bytes[position] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
      position += 1;
    }
    while (rest > 127) {
      bytes[position] = (rest & 127) | 128;
      rest >>>= 7;
      position += 1;
    }
    bytes[position] = rest;
    this.position = position + 1;
  }

  /** A whole number of either sign, as sint32 and sint64 have it. */
  zigzag(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  double(value: number): void {
    this.#view.setFloat64(this.position, value, true);
    this.position += 8;
  }

  raw(bytes: Uint8Array): void {
    const { length } = bytes;
    // A call of set costs more than a few bytes one by one.
    if (length > shortText) this.#bytes.set(bytes, this.position);
    else
      for (let index = 0; index < length; index += 1)
        this.#bytes[this.position + index] = bytes[index] as number;
    this.position += length;
  }

  /** A tag of one byte, then a text with its length. */
  text(tag: number, value: string): void {
    const { length } = value;
    this.reserve(length * 3 + 6);
    this.byte(tag);
    if (length <= shortText && this.#ascii(value)) return;
    const lengthBytes = sizeOfVarint(length);
    const start = this.position + lengthBytes;
    const written = this.#bytes.write(value, start);
    const needed = sizeOfVarint(written);
    if (needed !== lengthBytes) this.#bytes.copyWithin(start - lengthBytes + needed, start, start + written);
    this.varint(written);
    this.position += written;
  }

  /** Writes a text that is short; false, and nothing written, when it has a character that is not ASCII. */
  #ascii(value: string): boolean {
    const bytes = this.#bytes;
    const { length } = value;
    const start = this.position + 1;
    for (let index = 0; index < length; index += 1) {
      const code = value.charCodeAt(index);
      if (code > 127) return false;
      bytes[start + index] = code;
    }
    bytes[start - 1] = length;
    this.position = start + length;
    return true;
  }

  /** Begins a message whose length takes `lengthBytes`, most likely. Gives what `endMessage` needs. */
  beginMessage(tag: number, lengthBytes: 1 | 2): number {
    this.reserve(3);
    this.byte(tag);
    this.position += lengthBytes;
    return this.position;
  }

  /** Writes the length before the bytes since `beginMessage`. */
  endMessage(start: number, lengthBytes: 1 | 2): void {
    const length = this.position - start;
    const needed = sizeOfVarint(length);
    if (needed !== lengthBytes) {
      this.reserve(needed);
      this.#bytes.copyWithin(start - lengthBytes + needed, start, this.position);
    }
    this.position = start - lengthBytes;
    this.varint(length);
    this.position += length;
  }

  /** Puts a length before all bytes from a place on, which may be chunks ago. Only that part of a chunk is moved. */
  insertLength(fullChunks: number, start: number, length: number): void {
    const size = sizeOfVarint(length);
    if (fullChunks === this.#full.length) {
      this.reserve(size);
      this.#bytes.copyWithin(start + size, start, this.position);
      const end = this.position + size;
      this.position = start;
      this.varint(length);
      this.position = end;
      return;
    }
    const chunk = this.#full[fullChunks] as Uint8Array;
    this.#full.splice(fullChunks, 1, chunk.subarray(0, start), varintBytes(length), chunk.subarray(start));
    this.fullBytes += size;
  }

  get fullChunks(): number {
    return this.#full.length;
  }

  /** Takes the first chunks away. */
  takeFull(count: number): Uint8Array[] {
    return this.#full.splice(0, count).filter((chunk) => chunk.length > 0);
  }

  /** Takes everything away. */
  takeAll(): Uint8Array[] {
    const taken = this.takeFull(this.#full.length);
    if (this.position > 0) taken.push(this.#bytes.subarray(0, this.position));
    this.#replace(newChunk(0));
    this.position = 0;
    return taken;
  }

  #replace(bytes: Buffer<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

export function sizeOfVarint(value: number): number {
  let size = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) size += 1;
  return size;
}

function varintBytes(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Uint8Array.of(...bytes, rest);
}

/** A text as `text` writes it, to be kept. */
export function textField(tag: number, value: string): Uint8Array {
  const bytes = utf8.encode(value);
  return Uint8Array.of(tag, ...varintBytes(bytes.length), ...bytes);
}

/** Not zeroed: only what was written is ever shown. Never of a pool, whose parts a receiver could not own. */
function newChunk(size: number): Buffer<ArrayBuffer> {
  return Buffer.allocUnsafeSlow(size);
}
