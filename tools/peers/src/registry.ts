// Every peer, by name. A new one is a file in peers/ and a line here.
import type { Peer, PeerPaths } from "./peer.ts";
import { alertmanager } from "./peers/alertmanager.ts";
import { bagit } from "./peers/bagit.ts";
import { jaeger } from "./peers/jaeger.ts";
import { kubeStateMetrics } from "./peers/kube-state-metrics.ts";
import { kubernetes } from "./peers/kubernetes.ts";
import { model } from "./peers/model.ts";
import { nodeExporter } from "./peers/node-exporter.ts";
import { openaiPython } from "./peers/openai-python.ts";
import { otelCollector } from "./peers/otel-collector.ts";
import { portkey } from "./peers/portkey.ts";
import { postgresql15 } from "./peers/postgresql-15.ts";
import { postgresqlClients } from "./peers/postgresql-clients.ts";
import { prometheus } from "./peers/prometheus.ts";
import { versitygw } from "./peers/versitygw.ts";

export const peers = {
  "postgresql-clients": postgresqlClients,
  "postgresql-15": postgresql15,
  model,
  "openai-python": openaiPython,
  prometheus,
  alertmanager,
  "node-exporter": nodeExporter,
  kubernetes,
  "kube-state-metrics": kubeStateMetrics,
  jaeger,
  "otel-collector": otelCollector,
  versitygw,
  bagit,
  portkey,
} as const;

export type PeerName = keyof typeof peers;

/** The paths of one peer, with the names of its files. */
export type PathsOf<Name extends PeerName> =
  (typeof peers)[Name] extends Peer<infer File> ? PeerPaths<File> : never;

export const peerNames = Object.keys(peers) as PeerName[];

export function isPeerName(name: string): name is PeerName {
  return Object.hasOwn(peers, name);
}
