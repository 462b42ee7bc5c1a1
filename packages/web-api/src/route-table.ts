// The routes that this server has: which methods a URL accepts, and what each route asks of a key.
import type { Scope } from "@ectus/database";
import type { FastifyInstance } from "fastify";

export interface RouteInfo {
  readonly method: string;
  /** Its pattern, as in `/v1/files/:id`. */
  readonly url: string;
  /** Scope that a key needs; undefined where no key is needed. */
  readonly scope: Scope | undefined;
}

export interface RouteTable {
  readonly routes: readonly RouteInfo[];
  /** The methods that routes of this path accept. */
  methodsOf(path: string): readonly string[];
}

/** Records the routes that are added from now on. */
export function recordRoutes(app: FastifyInstance): RouteTable {
  const routes: RouteInfo[] = [];
  app.addHook("onRoute", ({ method, url, config }) => {
    for (const one of [method].flat()) {
      if (routes.some((known) => known.method === one && known.url === url)) continue;
      routes.push({ method: one, url, scope: config?.scope });
    }
  });
  return {
    routes,
    methodsOf: (path) => [
      ...new Set(routes.filter(({ url }) => matches(url, path)).map(({ method }) => method)),
    ],
  };
}

function matches(pattern: string, path: string): boolean {
  const expected = segments(pattern);
  const got = segments(path);
  return expected.at(-1) === "*"
    ? got.length >= expected.length && expected.slice(0, -1).every((part, index) => part === got[index])
    : got.length === expected.length &&
        expected.every((part, index) => (part.startsWith(":") ? got[index] !== "" : part === got[index]));
}

// A slash at the end is ignored.
const segments = (path: string): string[] => path.replace(/(?<=.)\/$/, "").split("/");
