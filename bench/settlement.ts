// What a request waits for at its end, measured apart: the transaction that settles one request, as the gateway sends
// it, on the same server at the same time, by the code that the gateway uses.
import { randomUUIDv7 } from "node:crypto";
import { createLogging } from "@ectus/core";
import { openDatabase, type Settlement, settle } from "@ectus/database";
import type { Tenant } from "./instance.ts";
import { median } from "./report.ts";
import { benchModel } from "./requests.ts";

const settlements = 500;
const warmup = 50;

/** Settles some requests one after the other; gives the median of the milliseconds that each took. */
export async function measureSettlement(
  url: string,
  tenant: Tenant,
): Promise<{ readonly p50Ms: number; readonly settlements: number }> {
  const logging = createLogging({ levels: { default: "silent", modules: {} }, format: "json" });
  const database = openDatabase({ url, poolSize: 1, log: logging.module("bench") });
  try {
    // No lease is this one's, so a part of what the gateway's settlements do is left out: it is not measured too long.
    const instanceId = randomUUIDv7();
    const times: number[] = [];
    for (let number = 0; number < warmup + settlements; number++) {
      const settlement = settlementOf(tenant);
      const startedAt = performance.now();
      await settle(database, instanceId, [settlement]);
      if (number >= warmup) times.push(performance.now() - startedAt);
    }
    return { p50Ms: median(times), settlements: warmup + settlements };
  } finally {
    await database.close();
  }
}

function settlementOf({ id, keyId }: Tenant): Settlement {
  return {
    touchKey: false,
    usage: {
      tenant_id: id,
      id: randomUUIDv7(),
      created_at: new Date().toISOString(),
      api_key_id: keyId,
      request_id: `req_${randomUUIDv7().replaceAll("-", "")}`,
      operation: "chat",
      model: benchModel,
      provider: "upstream",
      outcome: "completed",
      streamed: false,
      input_tokens: 57,
      output_tokens: 29,
      cached_tokens: 0,
      reasoning_tokens: 0,
      charged_tokens: 86,
      cost_usd: "0.00002595",
      duration_ms: 1,
    },
  };
}
