// The series of HTTP's metrics, kept by route, method and status: there are no more than the routes of this program
// and the statuses of its answers make.
import type {
  CounterHandle,
  CounterOf,
  HistogramHandle,
  HistogramOf,
  Instruments,
  LabelsOf,
} from "@ectus/monitoring";

export type MethodLabel = LabelsOf<"http_requests_total">["method"];
export type Exemplar = Parameters<HistogramHandle["observe"]>[1];

/** Those of RFC 9110 and RFC 5789. */
export const standardMethods: ReadonlySet<string> = new Set<MethodLabel>([
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "CONNECT",
  "OPTIONS",
  "TRACE",
  "PATCH",
]);

interface Metrics {
  readonly total: CounterOf<"http_requests_total">;
  readonly errors: CounterOf<"http_request_errors_total">;
  readonly broken: CounterOf<"http_responses_broken_total">;
  readonly duration: HistogramOf<"http_request_duration_seconds">;
  readonly requestSize: HistogramOf<"http_request_size_bytes">;
  readonly responseSize: HistogramOf<"http_response_size_bytes">;
}

/** Gives the series of a method and a route's pattern; undefined where none fits. */
export function createHttpSeries(
  instruments: Instruments,
): (method: string | undefined, path: string | undefined) => RouteSeries {
  const metrics: Metrics = {
    total: instruments.counter("http_requests_total"),
    errors: instruments.counter("http_request_errors_total"),
    broken: instruments.counter("http_responses_broken_total"),
    duration: instruments.histogram("http_request_duration_seconds"),
    requestSize: instruments.histogram("http_request_size_bytes"),
    responseSize: instruments.histogram("http_response_size_bytes"),
  };
  const byPath = new Map<string, Map<string, RouteSeries>>();
  return (method = "other", path = "unmatched") => {
    let byMethod = byPath.get(path);
    if (byMethod === undefined) {
      byMethod = new Map();
      byPath.set(path, byMethod);
    }
    const known = byMethod.get(method);
    if (known !== undefined) return known;
    // The parser knows some thirty methods, and takes no others.
    const label = standardMethods.has(method) ? (method as MethodLabel) : "other";
    const made = new RouteSeries(metrics, label, path);
    byMethod.set(method, made);
    return made;
  };
}

/** The series of one method of one route. */
export class RouteSeries {
  readonly requestSize: HistogramHandle;
  readonly responseSize: HistogramHandle;
  /** There from the route's first request on: rate() does not see a counter that begins at its first fault. */
  readonly #broken: CounterHandle;
  readonly #metrics: Metrics;
  readonly #method: MethodLabel;
  readonly #path: string;
  readonly #byStatus = new Map<number, StatusSeries>();

  constructor(metrics: Metrics, method: MethodLabel, path: string) {
    this.#metrics = metrics;
    this.#method = method;
    this.#path = path;
    this.requestSize = metrics.requestSize.labels({ method, path });
    this.responseSize = metrics.responseSize.labels({ method, path });
    this.#broken = metrics.broken.labels({ method, path });
  }

  /** Counts a request that is over. */
  answered(status: number, seconds: number, exemplar: Exemplar): void {
    const { total, duration, errors } = this.#byStatus.get(status) ?? this.#add(status);
    total.inc(1, exemplar);
    duration.observe(seconds, exemplar);
    errors?.inc(1, exemplar);
  }

  /** Counts one of those whose answer broke off by a fault that is not its client's. */
  broke(exemplar: Exemplar): void {
    this.#broken.inc(1, exemplar);
  }

  #add(status: number): StatusSeries {
    const { total, errors, duration } = this.#metrics;
    const labels = { method: this.#method, path: this.#path, status };
    const made: StatusSeries = {
      total: total.labels(labels),
      duration: duration.labels(labels),
      errors: status >= 500 ? errors.labels(labels) : undefined,
    };
    this.#byStatus.set(status, made);
    return made;
  }
}

interface StatusSeries {
  readonly total: CounterHandle;
  readonly duration: HistogramHandle;
  readonly errors: CounterHandle | undefined;
}
