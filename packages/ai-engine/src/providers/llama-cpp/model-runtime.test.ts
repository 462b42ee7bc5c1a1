import { currentContext, type Logger, type RequestContext, runInContext } from "@ectus/core";
import { expect, test } from "vitest";
import type { LoadedModel } from "./loaded-model.ts";
import { createModelRuntime } from "./model-runtime.ts";

test("a load is nobody's, whoever waits for it", async () => {
  const seen: (RequestContext | undefined)[] = [];
  const look = (): void => {
    seen.push(currentContext());
  };
  const runtime = createModelRuntime({
    name: "m",
    sequences: 1,
    queueBound: 1,
    queueTimeoutMs: 1000,
    load: async () => {
      look();
      return { dispose: async () => {} } as LoadedModel;
    },
    onLoaded: look,
    log: { info: look } as unknown as Logger,
  });
  await runInContext({ correlationId: "c", requestId: "r" }, async () => {
    await runtime.get();
    expect(currentContext()?.requestId).toBe("r");
  });
  expect(seen).toEqual([undefined, undefined, undefined]);
  await runtime.close();
});
