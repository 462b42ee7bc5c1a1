// What kube-state-metrics says of the objects of a Kubernetes cluster.
import { oneOf } from "./entry.ts";
import { anyOf, seriesOf } from "./external-entry.ts";

const namespace = anyOf("a namespace");
const uid = anyOf("the object's UID");
const pod = { namespace, pod: anyOf("a pod"), uid };
const container = { ...pod, container: anyOf("a container of the pod") };
const deployment = { namespace, deployment: anyOf("a Deployment") };
const replicaset = { namespace, replicaset: anyOf("a ReplicaSet") };
const node = { node: anyOf("a node") };
const claim = { namespace, persistentvolumeclaim: anyOf("a PersistentVolumeClaim") };
const autoscaler = { namespace, horizontalpodautoscaler: anyOf("a HorizontalPodAutoscaler") };
const budget = { namespace, poddisruptionbudget: anyOf("a PodDisruptionBudget") };
const trueOrFalse = oneOf("true", "false", "unknown");
const owner = {
  owner_kind: anyOf("the kind of its owner"),
  owner_name: anyOf("its owner"),
  owner_is_controller: anyOf("whether its owner is its controller"),
};
const resource = {
  node: anyOf("the node that the pod is on"),
  resource: anyOf("as `cpu` or `memory`"),
  unit: oneOf("core", "byte", "integer"),
};

// The reasons that the kubelet and its runtimes give, so that a mistyped one is found. Another one in the real output
// fails tests/alerting/external-series.test.ts.
const waiting = oneOf(
  "ContainerCreating",
  "CrashLoopBackOff",
  "CreateContainerConfigError",
  "CreateContainerError",
  "ErrImageNeverPull",
  "ErrImagePull",
  "ImageInspectError",
  "ImagePullBackOff",
  "InvalidImageName",
  "PodInitializing",
  "RunContainerError",
);
const terminated = oneOf(
  "Completed",
  "ContainerCannotRun",
  "ContainerStatusUnknown",
  "DeadlineExceeded",
  "Error",
  "Evicted",
  "OOMKilled",
  "StartError",
);

export const kubernetesSeries = seriesOf("kube-state-metrics", {
  gauge: {
    kube_pod_info: {
      ...pod,
      node: anyOf("the node that the pod is on"),
      host_ip: anyOf("the node's address"),
      pod_ip: anyOf("the pod's address"),
      created_by_kind: anyOf("the kind of its owner"),
      created_by_name: anyOf("its owner"),
      priority_class: anyOf("its priority class"),
      host_network: oneOf("true", "false"),
    },
    kube_pod_start_time: pod,
    kube_pod_created: pod,
    kube_pod_owner: { ...pod, ...owner },
    kube_pod_status_phase: {
      ...pod,
      phase: oneOf("Pending", "Running", "Succeeded", "Failed", "Unknown"),
    },
    kube_pod_status_ready: { ...pod, condition: trueOrFalse },
    kube_pod_status_scheduled: { ...pod, condition: trueOrFalse },
    kube_pod_status_reason: {
      ...pod,
      reason: anyOf("as `Evicted` or `NodeLost`"),
    },
    kube_pod_status_unschedulable: pod,
    kube_pod_container_info: {
      ...container,
      image: anyOf("its image"),
      image_id: anyOf("its image's digest"),
      image_spec: anyOf("its image, as the pod names it"),
      container_id: anyOf("its id at the runtime"),
    },
    kube_pod_container_resource_limits: { ...container, ...resource },
    kube_pod_container_resource_requests: { ...container, ...resource },
    kube_pod_container_status_last_terminated_exitcode: container,
    kube_pod_container_status_last_terminated_reason: { ...container, reason: terminated },
    kube_pod_container_status_last_terminated_timestamp: container,
    kube_pod_container_status_ready: container,
    kube_pod_container_status_running: container,
    kube_pod_container_status_terminated: container,
    kube_pod_container_status_terminated_reason: { ...container, reason: terminated },
    kube_pod_container_status_waiting: container,
    kube_pod_container_status_waiting_reason: { ...container, reason: waiting },
    kube_deployment_created: deployment,
    kube_deployment_metadata_generation: deployment,
    kube_deployment_spec_paused: deployment,
    kube_deployment_spec_replicas: deployment,
    kube_deployment_status_condition: {
      ...deployment,
      condition: oneOf("Available", "Progressing", "ReplicaFailure"),
      reason: anyOf("as `MinimumReplicasAvailable`"),
      status: trueOrFalse,
    },
    kube_deployment_status_observed_generation: deployment,
    kube_deployment_status_replicas: deployment,
    kube_deployment_status_replicas_available: deployment,
    kube_deployment_status_replicas_ready: deployment,
    kube_deployment_status_replicas_unavailable: deployment,
    kube_deployment_status_replicas_updated: deployment,
    kube_replicaset_owner: { ...replicaset, ...owner },
    kube_replicaset_spec_replicas: replicaset,
    kube_replicaset_status_ready_replicas: replicaset,
    kube_replicaset_status_replicas: replicaset,
    kube_node_info: {
      ...node,
      container_runtime_version: anyOf("the runtime of containers"),
      internal_ip: anyOf("its address"),
      kernel_version: anyOf("its kernel"),
      kubelet_version: anyOf("its kubelet"),
      kubeproxy_version: anyOf("its kube-proxy"),
      os_image: anyOf("its operating system"),
      pod_cidr: anyOf("the addresses of its pods"),
      provider_id: anyOf("its id at the provider"),
      system_uuid: anyOf("the machine's UUID"),
    },
    kube_node_spec_unschedulable: node,
    kube_node_spec_taint: {
      ...node,
      key: anyOf("the key of a taint"),
      value: anyOf("its value"),
      effect: oneOf("NoSchedule", "PreferNoSchedule", "NoExecute"),
    },
    kube_node_status_allocatable: {
      ...node,
      resource: anyOf("as `cpu` or `memory`"),
      unit: oneOf("core", "byte", "integer"),
    },
    kube_node_status_capacity: {
      ...node,
      resource: anyOf("as `cpu` or `memory`"),
      unit: oneOf("core", "byte", "integer"),
    },
    kube_node_status_condition: {
      ...node,
      condition: oneOf("Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"),
      status: trueOrFalse,
    },
    kube_persistentvolumeclaim_resource_requests_storage_bytes: claim,
    kube_persistentvolumeclaim_status_phase: { ...claim, phase: oneOf("Bound", "Lost", "Pending") },
    kube_horizontalpodautoscaler_spec_max_replicas: autoscaler,
    kube_horizontalpodautoscaler_spec_min_replicas: autoscaler,
    kube_horizontalpodautoscaler_status_current_replicas: autoscaler,
    kube_horizontalpodautoscaler_status_desired_replicas: autoscaler,
    kube_poddisruptionbudget_status_current_healthy: budget,
    kube_poddisruptionbudget_status_desired_healthy: budget,
    kube_poddisruptionbudget_status_expected_pods: budget,
    kube_poddisruptionbudget_status_pod_disruptions_allowed: budget,
  },
  counter: {
    kube_pod_container_status_restarts_total: container,
  },
});
