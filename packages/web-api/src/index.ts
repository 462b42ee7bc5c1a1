export { addHttpMetrics } from "./middleware/metrics.ts";
export { addObservability, type ObservabilityOptions } from "./middleware/observability.ts";
export type { RouteInfo } from "./route-table.ts";
export { type Server, type ServerOptions, startServer } from "./server.ts";
