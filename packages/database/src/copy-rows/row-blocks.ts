// Gathers rows that come in pieces into blocks with their line ends, counts and digests them. Where a block ends depends
// on the rows alone.
import { createRowDigest } from "@ectus/bag";
import type { RowBlock } from "../snapshot.ts";

export interface RowBlocks {
  /** A row of so many bytes follows, its line end not counted. */
  begin(length: number): void;
  append(bytes: Buffer, start: number, end: number): void;
  end(): void;
  /** After the last row. */
  finish(): void;
}

export interface RowBlocksOptions {
  readonly lineEnd: "\n" | "\r\n";
  readonly blockBytes: number;
  readonly onBlock: (block: RowBlock) => void;
}

// How much of a row `lastRow` shows.
const lastRowBytes = 4_096;
// Room for the row that fills a block, so that few have to be moved into a larger buffer.
const mostSlackBytes = 65_536;
const lineEndBytes = 2;
// More are never in use at a time: those that wait, and those that are compressed.
const mostFree = 12;

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const nothing: Buffer = Buffer.alloc(0);

export function createRowBlocks({ lineEnd, blockBytes, onBlock }: RowBlocksOptions): RowBlocks {
  if (!Number.isSafeInteger(blockBytes) || blockBytes < 1)
    throw new RangeError(`a block cannot have ${blockBytes} bytes`);
  const slackBytes = Math.min(mostSlackBytes, blockBytes) + lineEndBytes;
  const isCrLf = lineEnd === "\r\n";
  const digest = createRowDigest();
  let block: Buffer = nothing;
  // Less than `blockBytes` at the beginning of each row.
  let used = 0;
  let rowStart = 0;
  /** The row is larger than a block. */
  let isInPieces = false;
  // Of the last row that ended in the block: where it is, or its beginning if it is in earlier blocks.
  let lastStart = 0;
  let lastEnd = 0;
  let lastCopy: Buffer | undefined;
  // The beginning of a row in pieces.
  let pieceHead: Buffer = nothing;
  let pieceHeadBytes = 0;

  // Blocks that were read, to be filled again: memory that only waits for the garbage collector counts, too.
  const free: Buffer[] = [];
  const usualBytes = blockBytes + slackBytes;

  function reserve(bytes: number): void {
    if (used + bytes <= block.length) return;
    const needed = Math.max(blockBytes, used + bytes) + slackBytes;
    const larger = (needed === usualBytes ? free.pop() : undefined) ?? Buffer.allocUnsafeSlow(needed);
    block.copy(larger, 0, 0, used);
    block = larger;
  }

  function flush(endsRow: boolean): void {
    const lastRow = lastCopy ?? block.subarray(lastStart, Math.min(lastEnd, lastStart + lastRowBytes));
    const { rows, sum } = digest;
    const bytes = block.subarray(0, used);
    const memory = block;
    let isFree = false;
    digest.reset();
    block = nothing;
    used = 0;
    lastStart = 0;
    lastEnd = 0;
    lastCopy = undefined;
    const release = (): void => {
      if (isFree || memory.length !== usualBytes || free.length === mostFree) return;
      isFree = true;
      free.push(memory);
    };
    onBlock({ bytes, rows, digest: sum, endsRow, lastRow, release });
  }

  function appendPiece(bytes: Buffer, start: number, end: number): void {
    digest.piece(bytes, start, end);
    if (pieceHeadBytes < pieceHead.length)
      pieceHeadBytes += bytes.copy(pieceHead, pieceHeadBytes, start, end);
    for (let p = start; p < end; ) {
      reserve(blockBytes - used);
      const copied = bytes.copy(block, used, p, Math.min(end, p + blockBytes - used));
      p += copied;
      used += copied;
      if (used === blockBytes) flush(false);
    }
  }

  return {
    begin(length) {
      isInPieces = length + lineEnd.length > blockBytes;
      if (isInPieces) {
        digest.beginPieces(length);
        pieceHead = Buffer.allocUnsafeSlow(Math.min(length, lastRowBytes));
        pieceHeadBytes = 0;
      } else {
        reserve(length + lineEndBytes);
        rowStart = used;
      }
    },
    append(bytes, start, end) {
      if (isInPieces) appendPiece(bytes, start, end);
      else used += bytes.copy(block, used, start, end);
    },
    end() {
      if (isInPieces) {
        digest.endPieces();
        lastCopy = pieceHead;
        reserve(lineEndBytes);
      } else {
        digest.add(block, rowStart, used);
        lastStart = rowStart;
        lastEnd = used;
        lastCopy = undefined;
      }
      if (isCrLf) block[used++] = carriageReturn;
      block[used++] = lineFeed;
      // After each row that was in pieces, too: among rows that are all so large a part would never end else.
      if (used >= blockBytes || isInPieces) flush(true);
    },
    finish() {
      if (used > 0) flush(true);
    },
  };
}
