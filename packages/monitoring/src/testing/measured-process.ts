// A process that measures itself, for tests that look at it from outside: it works and allocates, shows its metrics as
// text, waits in silence for its input to end, and then ends because nothing holds it.
import { Registry } from "@ectus/metrics";
import { createInstruments } from "../instruments.ts";
import { startRuntimeMetrics } from "../runtime-metrics.ts";
import { block } from "./shown.ts";

const registry = new Registry();
const kept = Buffer.alloc(100_000_000, 1);
block(500);
startRuntimeMetrics({ instruments: createInstruments(registry) });
process.stdout.write(await registry.metrics());
process.stdin.resume();
process.stdin.on("end", () => void kept.at(0));
