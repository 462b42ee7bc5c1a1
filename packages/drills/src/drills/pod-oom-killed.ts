// A container that takes more memory than its limit is killed now and then, and runs again each time. The API server and
// what watches it are real; the kubelet's word is the drill's.
import { setTimeout as delay } from "node:timers/promises";
import type { AlertDrill } from "../drill.ts";
import { goodImage, inCluster } from "../faults/scratch-cluster.ts";

// Several within the alert's window, so that it lasts until it is mended.
const killedEveryMs = 2_000;

export const podOomKilled: AlertDrill = {
  kind: "alert",
  name: "pod-oom-killed",
  alert: "PodOOMKilled",
  severity: "ticket",
  shows: "a container that is killed for its memory is told, and wakes nobody as long as it starts again",
  fault: "the kubelet says of a container that it was killed for its memory, again and again",
  mitigation: "kubectl set resources gives it more memory, in new pods",
  ...inCluster(async ({ kubectl, say, podOf, rollOut }, { signal, defer }) => {
    const pod = await podOf(goodImage);
    const mended = new AbortController();
    const untilMended = AbortSignal.any([signal, mended.signal]);
    const killing = (async () => {
      for (let restarts = 1; !untilMended.aborted; restarts += 1) {
        await say({ pod, state: "oom-killed", restarts });
        await delay(killedEveryMs, undefined, { signal: untilMended }).catch(() => {});
      }
    })();
    killing.catch(() => {});
    const leave = async (): Promise<void> => {
      mended.abort();
      await killing;
    };
    defer(leave);
    return async () => {
      await leave();
      await kubectl("set", "resources", "deployment/ectus", "--containers=ectus", "--limits=memory=2Gi");
      await rollOut();
    };
  }),
  inhibits: [],
  customersSee: "nothing",
  wakesNobody: true,
};
