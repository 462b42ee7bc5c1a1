// Cuts clients that do not read their answers: what they leave waits in this process's memory, or holds a file open.
// Streams of events have a bound of their own, in event-stream.ts.
import type { FastifyInstance } from "fastify";

// Less than this the kernel takes at once, so that nothing waits here.
const smallCharacters = 16 * 1024;

/** @param stallMs how long the client of a large answer may take nothing */
export function addUnreadAnswers(app: FastifyInstance, stallMs: number): void {
  app.addHook("onSend", (_request, { raw: response }, payload, done) => {
    const isSmall = payload == null || (typeof payload === "string" && payload.length < smallCharacters);
    // Any progress starts this anew, and the server ends it with the answer. Where nothing waits to be taken, it is the
    // storage that is silent, which has bounds of its own.
    if (!isSmall)
      response.setTimeout(stallMs, () => {
        if (response.writableLength > 0) response.destroy();
      });
    done();
  });
}
