// Waiting for what another request does already: a look-up or a lease that several need at once is done once, in the
// context and trace of the request that began it. The traces of the others show that they waited.
import { startSpan } from "@ectus/monitoring";
import { SpanKind } from "@opentelemetry/api";

/** Makes a function that waits for work of others. @param what the work, in a word of the code, as `lease_rate` */
export function createWait(what: string): <T>(work: Promise<T>) => Promise<T> {
  const template = { name: `wait ${what}`, kind: SpanKind.INTERNAL, attributes: {} };
  return async (work) => {
    const span = startSpan(template);
    try {
      return await work;
    } finally {
      // Its failure is recorded where it happens.
      span?.end();
    }
  };
}
