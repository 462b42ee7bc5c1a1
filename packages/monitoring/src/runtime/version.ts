// Which Node.js runs.
import type { Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

/** Returns how to end it. */
export function showVersion(instruments: Instruments): () => void {
  const gauge = instruments.gauge("nodejs_version_info");
  const [major = 0, minor = 0, patch = 0] = process.version.slice(1).split(".").map(Number.parseFloat);
  gauge.labels({ version: process.version, major, minor, patch }).set(1);
  return () => withdraw(gauge);
}
