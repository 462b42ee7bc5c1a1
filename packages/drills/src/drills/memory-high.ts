// Clients on bad lines make the instance hold what they have sent.
import type { AlertDrill } from "../drill.ts";
import { startSlowUploads } from "../faults/slow-uploads.ts";

const mebibyte = 1_048_576;
// Many and not large, since each is read in one turn.
const clients = 72;
const bytesEach = 4 * mebibyte;

export const memoryHigh: AlertDrill = {
  kind: "alert",
  name: "memory-high",
  alert: "MemoryHigh",
  severity: "ticket",
  shows: "an instance that takes most of its memory is told, and wakes nobody",
  fault: `${clients} clients send 4 MiB each and stop before the end, so that the instance holds it`,
  mitigation: "the clients give up, and some send all of it, one after the other",
  programs: [],
  inhibits: [],
  instance: {
    environment: {
      // What it may have, for the alert. Nothing ends it beyond that.
      MEMORY_LIMIT_BYTES: String(440 * mebibyte),
      // glibc gives memory of small buffers back late or never, of those above this as soon as they are free.
      MALLOC_MMAP_THRESHOLD_: "32768",
    },
  },
  customersSee: "nothing",
  wakesNobody: true,
  async inject({ instance, signal }) {
    const { url: baseUrl, tenant } = instance;
    return startSlowUploads({ baseUrl, key: tenant.key, clients, bytesEach, signal });
  },
};
