// Takes rows out of what PostgreSQL sends while a `copy … to stdout` runs (PostgreSQL manual, sections 54.2.6 "COPY
// Operations", 54.7 "Message Formats", and "Binary Format" of COPY), however it is cut. A CopyData message is one row.
import type { RowBlocks } from "./row-blocks.ts";

export interface CopyDecoderOptions {
  readonly format: "csv" | "ndjson";
  readonly rows: RowBlocks;
  /** Is given what is not of the COPY itself: notices, parameters and notifications, in any pieces. */
  readonly pass: (bytes: Buffer) => void;
}

export interface CopyDecoder {
  /**
   * Takes what arrived. Gives what comes from the message on that ends the rows, be it that they are complete or that
   * there was an error; undefined as long as there can be more. Throws when this is not the format.
   */
  decode(chunk: Buffer): Buffer | undefined;
}

const copyData = 0x64;
const copyDone = 0x63;
const copyOutResponse = 0x48;
const noticeResponse = 0x4e;
const parameterStatus = 0x53;
const notificationResponse = 0x41;

const lineFeed = 0x0a;
// A byte for what a message is, and its length, which counts itself.
const frameBytes = 5;
const lengthBytes = 4;
// Of the binary format: its signature, no flags, and no extension of the header, of which there is none so far.
const header = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");
const headerBytes = header.length;
// A count of fields and the length of the first.
const tupleBytes = 6;
const trailerBytes = 2;

export function createCopyDecoder({ format, rows, pass }: CopyDecoderOptions): CopyDecoder {
  const isBinary = format === "ndjson";
  // The beginning of a message, as far as its parts must be whole to be understood.
  const head = Buffer.alloc(frameBytes + headerBytes);
  let headBytes = 0;
  let headNeeded = frameBytes;
  /** Bytes of the message after its frame and after the header of the binary format. */
  let contentBytes = 0;
  let sawHeader = !isBinary;
  let sawTrailer = !isBinary;
  let isInRow = false;
  let rowLeft = 0;
  let passLeft = 0;

  function beginRow(length: number): void {
    if (length < 0) throw unexpected(`a row of ${length} bytes`);
    rows.begin(length);
    isInRow = true;
    rowLeft = length;
  }

  function beginTuple(fields: number, length: number, bytes: number): void {
    if (fields !== 1 || length !== bytes - tupleBytes)
      throw unexpected(`a row of ${fields} fields, the first of ${length} bytes, in ${bytes}`);
    beginRow(length);
  }

  /** The length of the message that begins at `p`, without frame. */
  function lengthAt(bytes: Buffer, p: number): number {
    const length = bytes.readInt32BE(p + 1) - lengthBytes;
    if (length < 0) throw unexpected(`a message of ${length} bytes`);
    return length;
  }

  // `head` is as full as it was asked to be. Returns whether the message ends the rows.
  function readHead(): boolean {
    if (headNeeded === frameBytes) {
      const code = head[0];
      switch (code) {
        case copyData:
          contentBytes = lengthAt(head, 0);
          if (isBinary) {
            if (contentBytes < (sawHeader ? trailerBytes : headerBytes))
              throw unexpected(`a message of ${contentBytes} bytes`);
            headNeeded += sawHeader ? Math.min(contentBytes, tupleBytes) : headerBytes;
          } else {
            beginRow(contentBytes - 1);
            headBytes = 0;
          }
          return false;
        case copyOutResponse:
        case noticeResponse:
        case parameterStatus:
        case notificationResponse:
          passLeft = lengthAt(head, 0);
          pass(Buffer.from(head.subarray(0, frameBytes)));
          headBytes = 0;
          return false;
        default:
          if (code === copyDone && !sawTrailer) throw unexpected("no end of the rows");
          return true;
      }
    }
    if (!sawHeader) {
      if (!head.subarray(frameBytes, frameBytes + headerBytes).equals(header))
        throw unexpected("not the header of its binary format");
      sawHeader = true;
      contentBytes -= headerBytes;
      // The first row, or the trailer, is in the same message.
      headBytes = contentBytes === 0 ? 0 : frameBytes;
      headNeeded = frameBytes + Math.min(contentBytes, tupleBytes);
      return false;
    }
    const fields = head.readInt16BE(frameBytes);
    if (fields === -1 && contentBytes === trailerBytes) sawTrailer = true;
    else if (contentBytes < tupleBytes) throw unexpected(`a row in ${contentBytes} bytes`);
    else beginTuple(fields, head.readInt32BE(frameBytes + 2), contentBytes);
    headBytes = 0;
    headNeeded = frameBytes;
    return false;
  }

  return {
    decode(chunk) {
      const { length } = chunk;
      let p = 0;
      while (p < length) {
        if (isInRow) {
          if (rowLeft > 0) {
            const end = Math.min(p + rowLeft, length);
            rows.append(chunk, p, end);
            rowLeft -= end - p;
            p = end;
          } else {
            // In the binary format the next message is what ends a row.
            if (!isBinary && chunk[p++] !== lineFeed) throw unexpected("a row without line end");
            isInRow = false;
            rows.end();
          }
        } else if (passLeft > 0) {
          const end = Math.min(p + passLeft, length);
          pass(chunk.subarray(p, end));
          passLeft -= end - p;
          p = end;
        } else if (
          // Nearly all rows begin here; the rest is for those whose beginning was cut.
          headBytes === 0 &&
          sawHeader &&
          length - p >= frameBytes + tupleBytes &&
          chunk[p] === copyData
        ) {
          const bytes = lengthAt(chunk, p);
          if (!isBinary) {
            beginRow(bytes - 1);
            p += frameBytes;
          } else if (bytes >= tupleBytes) {
            beginTuple(chunk.readInt16BE(p + frameBytes), chunk.readInt32BE(p + frameBytes + 2), bytes);
            p += frameBytes + tupleBytes;
          } else {
            head[headBytes++] = chunk[p++] as number;
          }
        } else {
          head[headBytes++] = chunk[p++] as number;
          if (headBytes === headNeeded && readHead())
            return Buffer.concat([head.subarray(0, headBytes), chunk.subarray(p)]);
        }
      }
      return undefined;
    },
  };
}

function unexpected(what: string): Error {
  return new Error(`PostgreSQL sent what a COPY cannot give: ${what}`);
}
