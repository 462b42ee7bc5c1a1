// Marks work of which OpenTelemetry's instrumentations record nothing, such as the sending of spans.
import { createContextKey } from "@opentelemetry/api";

/** The key of OpenTelemetry's own packages, which have it by its name. */
export const isSuppressed = createContextKey("OpenTelemetry SDK Context Key SUPPRESS_TRACING");
