// The bytes of a blob as they come from an S3 server. A connection that is cut, falls silent or ends early is an error
// of the stream and never its end.
import { Readable } from "node:stream";
import type { EctusError } from "@ectus/core";

export interface S3ReadOptions {
  /** Length that the server promised; undefined if it did not. */
  readonly expectedBytes: number | undefined;
  /** The longest time in which nothing arrives although the reader wants more. */
  readonly idleMs: number;
  /** What an error of the connection becomes. */
  readonly errorOf: (error: unknown) => EctusError;
}

/** Takes `body` over: it is destroyed when this closes. */
export class S3ReadStream extends Readable {
  bytesRead = 0;
  readonly #body: Readable;
  readonly #options: S3ReadOptions;
  #idle: NodeJS.Timeout | undefined;

  constructor(body: Readable, options: S3ReadOptions) {
    super();
    this.#body = body;
    this.#options = options;
    // Paused before there is a listener, or it would flow at once.
    body.pause();
    body.on("data", (chunk: Buffer) => this.#take(chunk));
    body.on("end", () => this.#end());
    body.on("error", (error) => this.destroy(options.errorOf(error)));
    body.on("close", () => {
      if (!body.readableEnded) this.destroy(this.#cutShort());
    });
  }

  override _read(): void {
    this.#idle ??= setTimeout(() => this.destroy(this.#silent()), this.#options.idleMs);
    this.#body.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#stopWaiting();
    this.#body.destroy();
    done(error);
  }

  #take(chunk: Buffer): void {
    this.bytesRead += chunk.length;
    if (this.push(chunk)) {
      this.#idle?.refresh();
      return;
    }
    this.#stopWaiting();
    this.#body.pause();
  }

  #end(): void {
    this.#stopWaiting();
    const { expectedBytes } = this.#options;
    if (expectedBytes !== undefined && this.bytesRead !== expectedBytes) this.destroy(this.#cutShort());
    else this.push(null);
  }

  #stopWaiting(): void {
    clearTimeout(this.#idle);
    this.#idle = undefined;
  }

  #cutShort(): EctusError {
    const { expectedBytes = "an unknown number of" } = this.#options;
    return this.#options.errorOf(
      new Error(`the connection ended after ${this.bytesRead} of ${expectedBytes} bytes`),
    );
  }

  #silent(): EctusError {
    return this.#options.errorOf(new Error(`nothing arrived for ${this.#options.idleMs} ms`));
  }
}
