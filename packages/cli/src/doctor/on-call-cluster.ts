// Checks the access to the cluster: that kubectl's current namespace is that of the service, and that whoever asks may
// do there what runbooks do.
import type { Environment } from "@ectus/core";
import { type Check, fail, ok, warn } from "./check.ts";
import { guide } from "./on-call-guide.ts";
import { runProgram } from "./run-program.ts";

interface Action {
  readonly verb: string;
  readonly group?: string;
  readonly resource: string;
  readonly subresource?: string;
}

/** What runbooks do in the namespace. */
const actions: readonly Action[] = [
  { verb: "list", resource: "pods" },
  { verb: "get", resource: "pods", subresource: "log" },
  { verb: "create", resource: "pods", subresource: "exec" },
  { verb: "delete", resource: "pods" },
  { verb: "list", resource: "events" },
  { verb: "list", resource: "persistentvolumeclaims" },
  { verb: "get", group: "apps", resource: "deployments" },
  { verb: "list", group: "apps", resource: "replicasets" },
  { verb: "patch", group: "apps", resource: "deployments" },
  { verb: "patch", group: "apps", resource: "deployments", subresource: "scale" },
];

const deployments = ["ectus", "ectus-worker"];

export async function checkCluster(environment: Environment): Promise<Check[]> {
  const name = "cluster";
  // A team need not run the service in Kubernetes. What kubectl finds in its default place may be another cluster.
  if ((environment.KUBECONFIG ?? "") === "")
    return [
      warn(
        name,
        "KUBECONFIG is not set, so the cluster is not checked",
        `If the service runs in Kubernetes, set it, to ~/.kube/config too; else leave kubectl's steps out. ${guide}`,
      ),
    ];
  const kubectl = (args: readonly string[], input?: string) =>
    runProgram(environment, "kubectl", ["--request-timeout=8s", ...args], input);

  const context = await kubectl([
    "config",
    "view",
    "--minify",
    "-o",
    'jsonpath={.contexts[0].name}{"\\n"}{.contexts[0].context.namespace}',
  ]);
  if (!context.ok)
    return [
      context.isMissing
        ? fail(name, context.reason, `Put kubectl on PATH. ${guide}`)
        : fail(name, context.reason, `Set KUBECONFIG to a file with your access to the cluster. ${guide}`),
    ];
  const [contextName = "", current = ""] = context.out.split("\n");
  const namespace = current.trim() || "default";
  const [found, allowed] = await Promise.all([
    kubectl(["get", "deployments", ...deployments, "--ignore-not-found", "-o", "name"]),
    kubectl(
      ["create", "--validate=false", "-f", "-", "-o", 'jsonpath={.status.allowed}{"\\n"}'],
      JSON.stringify(reviews(namespace)),
    ),
  ]);
  const where = `context ${contextName}, namespace ${namespace}`;
  const refused = [found, allowed].find((run) => !run.ok);
  if (refused !== undefined && !refused.ok)
    return [
      fail(
        name,
        `${where}: ${refused.reason}`,
        `Check KUBECONFIG, and that you are in the network of the cluster. ${guide}`,
      ),
    ];
  return [
    judgeDeployments(name, where, found.ok ? found.out : ""),
    judgeActions(where, allowed.ok ? allowed.out : ""),
  ];
}

function judgeDeployments(name: string, where: string, out: string): Check {
  const missing = deployments.filter(
    (deployment) => !out.split("\n").includes(`deployment.apps/${deployment}`),
  );
  if (missing.length === 0) return ok(name, `${where} has the deployments ${deployments.join(", ")}`);
  return fail(
    name,
    `${where} has no deployment ${missing.join(", ")}`,
    "Runbooks work in the current namespace: kubectl config set-context --current --namespace=ectus",
  );
}

/** What `kubectl auth can-i` asks, for all actions in one request each and one process. */
function reviews(namespace: string): object {
  return {
    apiVersion: "v1",
    kind: "List",
    items: actions.map((action) => ({
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectAccessReview",
      spec: { resourceAttributes: { namespace, ...action } },
    })),
  };
}

function judgeActions(where: string, out: string): Check {
  const name = "rights in the cluster";
  const answers = out.trim().split("\n");
  if (answers.length !== actions.length)
    return fail(
      name,
      `kubectl gave ${answers.length} answers to ${actions.length} questions`,
      "Use kubectl 1.33 or later.",
    );
  const denied = actions.filter((_, index) => answers[index] !== "true");
  return denied.length === 0
    ? ok(name, `you may ${actions.map(actionText).join(", ")}`)
    : fail(
        name,
        `${where}: you may not ${denied.map(actionText).join(", ")}`,
        `Ask whoever runs the cluster for the role edit in this namespace. ${guide}`,
      );
}

const actionText = ({ verb, resource, subresource }: Action): string =>
  `${verb} ${resource}${subresource === undefined ? "" : `/${subresource}`}`;
