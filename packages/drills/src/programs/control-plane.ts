// A Kubernetes control plane on loopback, without nodes: etcd, kube-apiserver and kube-controller-manager. What is
// applied to it is really admitted, owned and deleted; its pods stay pending until somebody patches their status.
import { spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EctusError } from "@ectus/core";
import { findFreePort } from "./free-port.ts";
import { type Program, startProgram, stopAll } from "./program.ts";

export interface ControlPlaneOptions {
  /** Paths of the programs. */
  readonly programs: Readonly<
    Record<"etcd" | "kube-apiserver" | "kube-controller-manager" | "kubectl", string>
  >;
  /** The kubeconfig's current namespace, which need not be there yet; "default" if left out. */
  readonly namespace?: string;
}

/** Runs kubectl as an administrator and gives what it printed on standard output. */
export type Kubectl = (...args: readonly string[]) => Promise<string>;

export interface ControlPlane {
  readonly url: string;
  /** Path of a kubeconfig of an administrator. It holds all that it needs. */
  readonly kubeconfig: string;
  /** @throws EctusError `program_failed` with what kubectl said */
  readonly kubectl: Kubectl;
  /**
   * `kubectl apply` of manifests: YAML, or objects. More arguments are added to the command.
   *
   * @throws EctusError `program_failed` with what kubectl said, such as the API server's refusal
   */
  readonly apply: (manifests: string | readonly object[], ...args: readonly string[]) => Promise<string>;
  readonly stop: () => Promise<void>;
}

// Three seconds on an idle machine with two cores.
const startTimeoutMs = 120_000;
const kubectlTimeoutMs = 60_000;

/**
 * Resolves when it takes manifests and its controllers work.
 *
 * @throws EctusError `program_failed` when one of the programs fails; nothing is left of it then
 */
export async function startControlPlane({
  programs,
  namespace = "default",
}: ControlPlaneOptions): Promise<ControlPlane> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-control-plane-"));
  const started: Program[] = [];
  const stop = async (): Promise<void> => {
    await stopAll(started);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const files = await writeKeys(folder);
    const etcd = await startEtcd(programs.etcd, folder);
    started.push(etcd.program);
    const server = await startApiServer(programs["kube-apiserver"], etcd.url, files);
    started.push(server.program);
    const kubeconfig = join(folder, "kubeconfig");
    await writeFile(kubeconfig, JSON.stringify(kubeconfigFor(server, namespace)), { mode: 0o600 });
    started.push(await startControllers(programs["kube-controller-manager"], kubeconfig, files, server));
    const run = (args: readonly string[], input = ""): Promise<string> =>
      runKubectl(programs.kubectl, args, input, { KUBECONFIG: kubeconfig, HOME: folder });
    return {
      url: server.url,
      kubeconfig,
      kubectl: (...args) => run(args),
      apply: (manifests, ...args) => run(["apply", "--filename=-", ...args], asInput(manifests)),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Files {
  readonly certificates: string;
  /** Signs the tokens of service accounts. */
  readonly signingKey: string;
  readonly tokens: string;
  readonly token: string;
}

async function writeKeys(folder: string): Promise<Files> {
  const files = {
    certificates: join(folder, "certificates"),
    signingKey: join(folder, "service-accounts.key"),
    tokens: join(folder, "tokens.csv"),
    token: randomBytes(32).toString("base64url"),
  };
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  await mkdir(files.certificates, { mode: 0o700 });
  await writeFile(files.signingKey, privateKey.export({ type: "pkcs1", format: "pem" }), { mode: 0o600 });
  await writeFile(files.tokens, `${files.token},admin,admin,system:masters\n`, { mode: 0o600 });
  return files;
}

async function startEtcd(path: string, folder: string): Promise<{ url: string; program: Program }> {
  const url = `http://127.0.0.1:${await findFreePort()}`;
  const peerUrl = `http://127.0.0.1:${await findFreePort()}`;
  const program = await startProgram({
    name: "etcd",
    path,
    args: [
      `--data-dir=${join(folder, "etcd")}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      // It lives for minutes and is thrown away.
      "--unsafe-no-fsync",
      "--log-level=warn",
    ],
    ready: async () => (await fetch(`${url}/health`)).ok,
    timeoutMs: startTimeoutMs,
  });
  return { url, program };
}

interface ApiServer {
  readonly url: string;
  readonly program: Program;
  /** Of its own certificate's maker, PEM. */
  readonly authority: string;
  readonly token: string;
}

async function startApiServer(path: string, etcdUrl: string, files: Files): Promise<ApiServer> {
  const { certificates, signingKey, tokens, token } = files;
  const port = await findFreePort();
  const url = `https://127.0.0.1:${port}`;
  // It makes one when it starts.
  const readAuthority = () => readFile(join(certificates, "apiserver.crt"), "utf8");
  const program = await startProgram({
    name: "kube-apiserver",
    path,
    args: [
      `--etcd-servers=${etcdUrl}`,
      "--bind-address=127.0.0.1",
      `--secure-port=${port}`,
      "--advertise-address=127.0.0.1",
      // It would publish its address as a service, which must not be one of loopback.
      "--endpoint-reconciler-type=none",
      `--cert-dir=${certificates}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${signingKey}`,
      `--service-account-signing-key-file=${signingKey}`,
      `--token-auth-file=${tokens}`,
      "--authorization-mode=RBAC",
      // As real clusters have it: what pods may do is up to their namespace.
      "--allow-privileged=true",
      "--service-cluster-ip-range=10.96.0.0/16",
      "--profiling=false",
    ],
    ready: async () => (await statusOf(`${url}/readyz`, { authority: await readAuthority(), token })) === 200,
    timeoutMs: startTimeoutMs,
  });
  return { url, program, authority: await readAuthority(), token };
}

function startControllers(
  path: string,
  kubeconfig: string,
  { signingKey }: Files,
  server: ApiServer,
): Promise<Program> {
  const accounts = `${server.url}/api/v1/namespaces/default/serviceaccounts`;
  return startProgram({
    name: "kube-controller-manager",
    path,
    args: [
      `--kubeconfig=${kubeconfig}`,
      `--service-account-private-key-file=${signingKey}`,
      "--use-service-account-credentials=false",
      "--leader-elect=false",
      "--secure-port=0",
      "--profiling=false",
    ],
    // It serves nothing that could be asked. Its controllers work once one of them has made this.
    ready: async () => (await statusOf(`${accounts}/default`, server)) === 200,
    timeoutMs: startTimeoutMs,
  });
}

// Not by fetch, which cannot be given a certificate's authority.
async function statusOf(
  url: string,
  { authority, token }: Pick<ApiServer, "authority" | "token">,
): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const headers = { authorization: `Bearer ${token}` };
  request(url, { ca: authority, headers, agent: false, timeout: 5_000 })
    .on("response", (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    })
    .on("timeout", function (this: { destroy(error: Error): void }) {
      this.destroy(new Error(`${url} does not answer`));
    })
    .on("error", reject)
    .end();
  return promise;
}

function kubeconfigFor({ url, authority, token }: ApiServer, namespace: string): object {
  const name = "ectus-drill";
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name,
        cluster: {
          server: url,
          "certificate-authority-data": Buffer.from(authority).toString("base64"),
        },
      },
    ],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name, namespace } }],
    "current-context": name,
  };
}

function asInput(manifests: string | readonly object[]): string {
  if (typeof manifests === "string") return manifests;
  return JSON.stringify({ apiVersion: "v1", kind: "List", items: manifests });
}

async function runKubectl(
  path: string,
  args: readonly string[],
  input: string,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const child = spawn(path, args, {
    env: { ...process.env, ...env },
    timeout: kubectlTimeoutMs,
    killSignal: "SIGKILL",
  });
  const fail = (what: string): void =>
    reject(new EctusError("program_failed", { reason: `kubectl ${args.join(" ")}: ${what}` }));
  let [printed, complained] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complained += text));
  child.on("error", (error) => fail(error.message));
  child.on("close", (code, signal) => {
    if (code === 0) resolve(printed);
    else fail(complained.trim() || `it ended with ${signal ?? code}`);
  });
  // One that ends before it has read all of it says why on standard error.
  child.stdin.on("error", () => {}).end(input);
  return promise;
}
