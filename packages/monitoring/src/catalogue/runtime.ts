// What is measured of the process and of Node.js, under the names and with the types and labels of the official client
// (`@prometheus-io/client`), so that dashboards for it work. All values are read where they are shown: see ../runtime.
import { atMost, counter, gauge, histogram, oneOf } from "./entry.ts";

const usedBy = ["dashboards for Node.js"];

const space = atMost(20, "a heap space of V8, without `_space` at its end");
const resourceType = atMost(60, "a kind of resource of Node.js, as `TCPSocketWrap`");
const className = atMost(60, "the name of a class, as `Socket`");

// The lag's statistics are of the last minute, whoever scrapes and how often.
const ofLastMinute = "of the times that timers were late in the last minute";

export const runtimeCatalogue = {
  process_cpu_user_seconds_total: counter({
    help: "CPU time that the process has spent in its own code.",
    unit: "seconds",
    labels: {},
    usedBy,
  }),
  process_cpu_system_seconds_total: counter({
    help: "CPU time that the kernel has spent for the process.",
    unit: "seconds",
    labels: {},
    usedBy,
  }),
  process_cpu_seconds_total: counter({
    help: "CPU time of the process, in its own code and in the kernel.",
    unit: "seconds",
    labels: {},
    usedBy: [...usedBy, "alert CpuHigh"],
  }),
  process_start_time_seconds: gauge({
    help: "When the process began, in seconds since 1970.",
    unit: "seconds",
    labels: {},
    usedBy: [...usedBy, "alert ProcessRestarting"],
  }),
  process_resident_memory_bytes: gauge({
    help: "Memory of the process that is in RAM.",
    unit: "bytes",
    labels: {},
    usedBy: [...usedBy, "alert MemoryHigh"],
  }),
  process_virtual_memory_bytes: gauge({
    help: "Address space of the process. Linux only.",
    unit: "bytes",
    labels: {},
    usedBy,
  }),
  process_heap_bytes: gauge({
    help: "Data segment of the process, which holds its heaps. Linux only.",
    unit: "bytes",
    labels: {},
    usedBy,
  }),
  process_memory_limit_bytes: gauge({
    help: "Memory that the process may have: `MEMORY_LIMIT_BYTES`, or the limit of its control group, or the machine's memory.",
    unit: "bytes",
    labels: {},
    usedBy: ["alert MemoryHigh"],
  }),
  process_cpu_limit_cores: gauge({
    help: "Processors that the process may use, by affinity and the quota of its control group; may be a fraction.",
    labels: {},
    usedBy: ["alert CpuHigh"],
  }),
  process_open_fds: gauge({
    help: "File descriptors that are open, sockets included. Linux only.",
    labels: {},
    usedBy,
  }),
  process_max_fds: gauge({
    help: "File descriptors that may be open. Linux only.",
    labels: {},
    usedBy,
  }),
  nodejs_eventloop_lag_seconds: gauge({
    help: "How late the last timer was.",
    unit: "seconds",
    labels: {},
    usedBy,
  }),
  nodejs_eventloop_lag_min_seconds: gauge({
    help: `Least ${ofLastMinute}.`,
    unit: "seconds",
    labels: {},
    usedBy,
  }),
  nodejs_eventloop_lag_max_seconds: gauge({
    help: `Most ${ofLastMinute}.`,
    unit: "seconds",
    labels: {},
    usedBy,
  }),
  nodejs_eventloop_lag_mean_seconds: gauge({
    help: `Mean ${ofLastMinute}.`,
    unit: "seconds",
    labels: {},
    usedBy,
  }),
  nodejs_eventloop_lag_stddev_seconds: gauge({
    help: `Standard deviation ${ofLastMinute}.`,
    unit: "seconds",
    labels: {},
    usedBy,
  }),
  nodejs_eventloop_lag_p50_seconds: gauge({
    help: `Median ${ofLastMinute}.`,
    unit: "seconds",
    labels: {},
    usedBy,
  }),
  nodejs_eventloop_lag_p90_seconds: gauge({
    help: `90th percentile ${ofLastMinute}.`,
    unit: "seconds",
    labels: {},
    usedBy,
  }),
  nodejs_eventloop_lag_p99_seconds: gauge({
    help: `99th percentile ${ofLastMinute}.`,
    unit: "seconds",
    labels: {},
    usedBy: [...usedBy, "alert EventLoopLag"],
  }),
  nodejs_eventloop_utilization_histogram: histogram({
    help: "Share of time in which the event loop did not wait for something to do, of each tenth of a second.",
    labels: {},
    buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99, 1],
    bucketsWhy: "those of the official client",
    // What a scraper takes as a native histogram it keeps without the series that dashboards for Node.js ask for.
    native: false,
    usedBy,
  }),
  nodejs_active_resources: gauge({
    help: "Resources that keep the event loop going, by kind.",
    labels: { type: resourceType },
    usedBy,
  }),
  nodejs_active_resources_total: gauge({
    help: "Resources that keep the event loop going.",
    labels: {},
    usedBy,
  }),
  nodejs_active_handles: gauge({
    help: "Open handles, as sockets, servers and child processes, by the class that has them.",
    labels: { type: className },
    usedBy,
  }),
  nodejs_active_handles_total: gauge({
    help: "Open handles, as sockets, servers and child processes.",
    labels: {},
    usedBy,
  }),
  nodejs_active_requests: gauge({
    help: "Requests to the operating system that are under way, by the class that made them.",
    labels: { type: className },
    usedBy,
  }),
  nodejs_active_requests_total: gauge({
    help: "Requests to the operating system that are under way.",
    labels: {},
    usedBy,
  }),
  nodejs_heap_size_total_bytes: gauge({
    help: "Memory that V8 has taken for its heap.",
    unit: "bytes",
    labels: {},
    usedBy,
  }),
  nodejs_heap_size_used_bytes: gauge({
    help: "Memory that objects take in V8's heap.",
    unit: "bytes",
    labels: {},
    usedBy,
  }),
  nodejs_external_memory_bytes: gauge({
    help: "Memory outside of V8's heap that its objects hold, as buffers do.",
    unit: "bytes",
    labels: {},
    usedBy,
  }),
  nodejs_heap_space_size_total_bytes: gauge({
    help: "Memory that V8 has taken for a space of its heap.",
    unit: "bytes",
    labels: { space },
    usedBy,
  }),
  nodejs_heap_space_size_used_bytes: gauge({
    help: "Memory that objects take in a space of V8's heap.",
    unit: "bytes",
    labels: { space },
    usedBy,
  }),
  nodejs_heap_space_size_available_bytes: gauge({
    help: "Memory that is left in a space of V8's heap before it grows or is collected.",
    unit: "bytes",
    labels: { space },
    usedBy,
  }),
  nodejs_version_info: gauge({
    help: "Always 1; its labels say which Node.js runs.",
    labels: {
      version: atMost(1, "as `v26.10.0`"),
      major: atMost(1, "its first number"),
      minor: atMost(1, "its second number"),
      patch: atMost(1, "its third number"),
    },
    usedBy,
  }),
  nodejs_gc_duration_seconds: histogram({
    help: "Time of garbage collections, by kind: `minor` of young objects, `major` of all, `incremental` a step of a major one's marking, `weakcb` callbacks of weak references.",
    unit: "seconds",
    labels: { kind: oneOf("major", "minor", "incremental", "weakcb") },
    buckets: [0.001, 0.01, 0.1, 1, 2, 5],
    bucketsWhy: "those of the official client",
    native: false,
    usedBy,
  }),
} as const;
