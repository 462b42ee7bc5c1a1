// Frames HTTP/1.1 messages on a raw socket, for both ends of a bench. It costs a few microseconds a message where
// node:http costs tens, so that what is measured is the gateway in between. It knows only what the bench sends and gets.

export interface MessageReaderOptions {
  /** Whether `onMessage` is given the body. */
  readonly keepBody: boolean;
  /** Called at the first byte of a message's body. */
  readonly onBodyStart?: () => void;
  readonly onMessage: (head: string, body: string) => void;
}

type State = "head" | "body" | "chunk-size" | "chunk" | "end";

const none = Buffer.alloc(0);
const headEnd = "\r\n\r\n";

/** Takes the bytes of one connection and tells each message that is complete. */
export function createMessageReader(options: MessageReaderOptions): (bytes: Buffer) => void {
  const { keepBody, onBodyStart, onMessage } = options;
  let rest: Buffer = none;
  let state: State = "head";
  let head = "";
  let body = "";
  let left = 0;
  let begun = false;

  function finish(): void {
    state = "head";
    const whole = body;
    body = "";
    begun = false;
    onMessage(head, whole);
  }

  function take(from: number, length: number): void {
    if (!begun && length > 0) {
      begun = true;
      onBodyStart?.();
    }
    if (keepBody) body += rest.toString("latin1", from, from + length);
  }

  // Returns how far it came; the same as it was given when more bytes are needed.
  function step(at: number): number {
    switch (state) {
      case "head": {
        const end = rest.indexOf(headEnd, at);
        if (end < 0) return at;
        head = rest.toString("latin1", at, end);
        const after = end + headEnd.length;
        if (/^transfer-encoding: *chunked/im.test(head)) {
          state = "chunk-size";
        } else {
          left = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
          state = "body";
          if (left === 0) finish();
        }
        return after;
      }
      case "body":
      case "chunk": {
        const length = Math.min(left, rest.length - at);
        if (length === 0) return at;
        take(at, state === "chunk" ? Math.min(length, left - 2) : length);
        left -= length;
        if (left === 0) {
          if (state === "chunk") state = "chunk-size";
          else finish();
        }
        return at + length;
      }
      case "chunk-size": {
        const end = rest.indexOf("\r\n", at);
        if (end < 0) return at;
        const size = Number.parseInt(rest.toString("latin1", at, end), 16);
        left = size + 2;
        state = size === 0 ? "end" : "chunk";
        return end + 2;
      }
      case "end": {
        if (rest.length - at < 2) return at;
        finish();
        return at + 2;
      }
    }
  }

  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    let at = 0;
    for (let next = step(at); next > at; next = step(at)) at = next;
    rest = at === rest.length ? none : rest.subarray(at);
  };
}
