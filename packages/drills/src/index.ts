export { allDrills } from "./all-drills.ts";
export type { AlertDrill, Drill, SilenceDrill } from "./drill.ts";
export { type PodStatus, setPodStatus } from "./faults/pod-status.ts";
export {
  type Alertmanager,
  type AlertmanagerOptions,
  type PostedAlert,
  type ReceivedAlert,
  startAlertmanager,
} from "./programs/alertmanager.ts";
export {
  type ControlPlane,
  type ControlPlaneOptions,
  type Kubectl,
  startControlPlane,
} from "./programs/control-plane.ts";
export { findPrograms, type ProgramName } from "./programs/find-programs.ts";
export {
  type KubeStateMetrics,
  type KubeStateMetricsOptions,
  startKubeStateMetrics,
} from "./programs/kube-state-metrics.ts";
export { type NodeExporter, type NodeExporterOptions, startNodeExporter } from "./programs/node-exporter.ts";
export { type Program, type ProgramOptions, startProgram } from "./programs/program.ts";
export {
  type EvaluatedRule,
  type FloatSample,
  type Prometheus,
  type PrometheusOptions,
  type RaisedAlert,
  type ScrapeTarget,
  startPrometheus,
} from "./programs/prometheus.ts";
export { announces, type Message, type Service, type SlackMessage } from "./receiver/messages.ts";
export { type Behavior, type Receiver, type Refusal, startReceiver } from "./receiver/receiver.ts";
export { stepText } from "./report.ts";
export {
  startOwnAlertmanager,
  startOwnPrometheus,
  type WatchingPrometheus,
} from "./rig/alerting.ts";
export type { RunningServers } from "./rig/rig.ts";
export { type DrillOptions, type DrillResult, runDrill } from "./run-drill.ts";
export { factorsOf, shortenedRules } from "./shortened-rules.ts";
export type { Step } from "./timeline.ts";
