// Series that other programs expose and that rules, dashboards and runbooks use, with the labels that Prometheus adds to
// every series. tests/alerting/external-series.test.ts compares them with what the real programs expose.
import { type LabelRule, oneOf } from "./entry.ts";
import { alertmanagerSeries } from "./external-alertmanager.ts";
import { anyOf, type ExternalSeries } from "./external-entry.ts";
import { jaegerSeries } from "./external-jaeger.ts";
import { kubernetesSeries } from "./external-kubernetes.ts";
import { nodeSeries } from "./external-node.ts";
import { prometheusSeries } from "./external-prometheus.ts";

/** By the name of the metric; of a histogram or summary without `_bucket`, `_sum` and `_count`. */
export const externalSeries: Readonly<Record<string, ExternalSeries>> = {
  ...prometheusSeries,
  ...alertmanagerSeries,
  ...nodeSeries,
  ...kubernetesSeries,
  ...jaegerSeries,
};

/** The labels that Prometheus gives each series that it scrapes. */
export const targetLabels: Readonly<
  Record<"job" | "instance" | "node" | "namespace" | "pod" | "container", LabelRule>
> = {
  job: oneOf("ectus", "node", "kube-state-metrics", "prometheus", "alertmanager", "jaeger"),
  instance: anyOf("the address that was scraped"),
  node: anyOf("the Kubernetes node, where there is one"),
  namespace: anyOf("of the pod that was scraped, where it is one"),
  pod: anyOf("the pod that was scraped, where it is one"),
  container: anyOf("the container that was scraped, where it is one"),
};
