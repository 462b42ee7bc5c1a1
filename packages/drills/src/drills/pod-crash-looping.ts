// A release whose container ends as soon as it is started. The API server and what watches it are real; the kubelet's word
// is the drill's.
import type { AlertDrill } from "../drill.ts";
import { inCluster } from "../faults/scratch-cluster.ts";

const brokenImage = "registry.example.com/ectus:broken";

export const podCrashLooping: AlertDrill = {
  kind: "alert",
  name: "pod-crash-looping",
  alert: "PodCrashLooping",
  severity: "page",
  shows: "a release whose pods do not stay up wakes somebody, while the pods before it serve",
  fault: "a release is rolled out of whose container the kubelet says that it ends at once, again and again",
  mitigation: "kubectl rollout undo deployment/ectus",
  ...inCluster(async ({ kubectl, say, podOf, rollOut }) => {
    await kubectl("set", "image", "deployment/ectus", `ectus=${brokenImage}`);
    const pod = await podOf(brokenImage);
    await say({ pod, state: "crash-looping", restarts: 5 });
    return async () => {
      await kubectl("rollout", "undo", "deployment/ectus");
      await rollOut();
    };
  }),
  inhibits: [],
  customersSee: "nothing",
};
