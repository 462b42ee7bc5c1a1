// What is known of the requests to a route before they come; made at the first of them and kept, as there are no more
// than the routes of this program and the methods that the parser knows.
import type { FastifyContextConfig } from "fastify";
import type { AccessLines } from "./access-log.ts";
import type { RouteSeries } from "./http-series.ts";
import type { RequestSpans } from "./request-span.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /**
     * When a request to the route is slow: after this many milliseconds; or, with `inference`, when its answer has not
     * begun after the server's `slowInferenceMs`. The server's `slowRequestMs` by default.
     */
    readonly slowAfter?: number | "inference";
  }
}

export interface ObservedRoute {
  /** Milliseconds after which a request is slow. */
  readonly slowMs: number;
  /** Whether they end when the answer begins: how long a stream goes on says nothing. */
  readonly isSlowUntilAnswer: boolean;
  /** Undefined without metrics. */
  readonly series: RouteSeries | undefined;
  readonly spans: RequestSpans;
  readonly lines: AccessLines;
}

export interface RouteFacts {
  readonly method: string;
  /** The pattern; undefined where no route fits. */
  readonly url: string | undefined;
  readonly slowAfter: FastifyContextConfig["slowAfter"];
}

export type ObservedRoutes = (
  method: string | undefined,
  url: string | undefined,
  config?: FastifyContextConfig,
) => ObservedRoute;

export function createObservedRoutes(make: (facts: RouteFacts) => ObservedRoute): ObservedRoutes {
  const byUrl = new Map<string | undefined, Map<string, ObservedRoute>>();
  return (method = "", url, config) => {
    let byMethod = byUrl.get(url);
    if (byMethod === undefined) {
      byMethod = new Map();
      byUrl.set(url, byMethod);
    }
    let route = byMethod.get(method);
    if (route === undefined) {
      route = make({ method, url, slowAfter: config?.slowAfter });
      byMethod.set(method, route);
    }
    return route;
  };
}
