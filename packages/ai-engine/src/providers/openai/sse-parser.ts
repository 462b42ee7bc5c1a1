// Incremental parser of text/event-stream, by the WHATWG HTML specification, section 9.2.6 "Interpreting an event
// stream". Bytes go in as they arrive, cut anywhere; whole events come out.
import { StringDecoder } from "node:string_decoder";

export interface SseParser {
  /** Takes the next bytes and calls `onEvent` for each event that they complete. */
  push(bytes: Uint8Array): void;
}

export interface SseParserOptions {
  /** `type` is "message" where the stream names none. */
  readonly onEvent: (data: string, type: string) => void;
  /** Called once when an event or line passes `maxEventLength`; nothing is parsed after it. */
  readonly onTooLong: () => void;
  /** Bound of one event and of one unfinished line, in UTF-16 units; it bounds what the parser holds. */
  readonly maxEventLength: number;
}

/**
 * Fields `id` and `retry` are of no use to a client that never reconnects, and are ignored. What follows the last
 * blank line is no event, as the specification says, so there is nothing to flush at the end of the stream.
 */
export function createSseParser({ onEvent, onTooLong, maxEventLength }: SseParserOptions): SseParser {
  const decoder = new StringDecoder("utf8");
  let atStart = true;
  let afterCr = false;
  // The unfinished line: only joined to new text, never searched again, so that a long line costs linear time.
  let line = "";
  let data: string | undefined;
  let type = "";
  let failed = false;

  function endLine(text: string): void {
    if (text === "") {
      // An event without data, or with empty data only, is dropped with its type.
      if (data !== undefined && data !== "") onEvent(data, type === "" ? "message" : type);
      data = undefined;
      type = "";
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return;
    const field = colon === -1 ? text : text.slice(0, colon);
    if (field === "data") {
      const value = fieldValue(text, colon);
      data = data === undefined ? value : `${data}\n${value}`;
    } else if (field === "event") {
      type = fieldValue(text, colon);
    }
  }

  return {
    push(bytes) {
      if (failed) return;
      const text = decoder.write(bytes as Buffer);
      if (text === "") return;
      let start = 0;
      if (atStart) {
        atStart = false;
        if (text.charCodeAt(0) === 0xfeff) start = 1;
      }
      if (afterCr) {
        afterCr = false;
        if (text.charCodeAt(start) === 0x0a) start += 1;
      }
      let cr = text.indexOf("\r", start);
      let lf = text.indexOf("\n", start);
      while (cr !== -1 || lf !== -1) {
        const isCr = cr !== -1 && (lf === -1 || cr < lf);
        const end = isCr ? cr : lf;
        endLine(line === "" ? text.slice(start, end) : line + text.slice(start, end));
        line = "";
        start = end + 1;
        if (isCr) {
          if (start === text.length) afterCr = true;
          else if (text.charCodeAt(start) === 0x0a) start += 1;
          cr = text.indexOf("\r", start);
        }
        if (lf !== -1 && lf < start) lf = text.indexOf("\n", start);
        if ((data?.length ?? 0) > maxEventLength) break;
      }
      if (start < text.length) line += start === 0 ? text : text.slice(start);
      if (line.length + (data?.length ?? 0) > maxEventLength) {
        failed = true;
        line = "";
        data = undefined;
        onTooLong();
      }
    },
  };
}

function fieldValue(line: string, colon: number): string {
  if (colon === -1) return "";
  return line.slice(line.charCodeAt(colon + 1) === 0x20 ? colon + 2 : colon + 1);
}
