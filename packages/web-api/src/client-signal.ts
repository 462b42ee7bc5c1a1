// Signals that end the work for a client: when it goes away before its answer is complete, or when this server stops
// and cannot wait any longer.
import { EctusError } from "@ectus/core";
import type { FastifyReply } from "fastify";

export interface ClientSignals {
  /** Aborted with `client_closed_request` when the client goes away, or with the reason of `abortAll`. */
  of(reply: FastifyReply): AbortSignal;
  abortAll(reason: EctusError): void;
}

export function createClientSignals(): ClientSignals {
  const controllers = new Set<AbortController>();
  return {
    of(reply) {
      const controller = new AbortController();
      const response = reply.raw;
      const leave = (): void => {
        controllers.delete(controller);
        if (!response.writableFinished) controller.abort(new EctusError("client_closed_request"));
      };
      // It may have gone away while its budget was reserved.
      if (response.closed || response.destroyed) {
        leave();
      } else {
        controllers.add(controller);
        response.once("close", leave);
      }
      return controller.signal;
    },
    abortAll(reason) {
      for (const controller of controllers) controller.abort(reason);
      controllers.clear();
    },
  };
}
