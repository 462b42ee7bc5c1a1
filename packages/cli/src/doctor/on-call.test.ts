// `ectus doctor --on-call` against the real programs: all well, and each access taken away.
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type ControlPlane, type Prometheus, startControlPlane, startPrometheus } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { startAlertmanagerRig } from "../../../../tests/alerting/alertmanager-rig.ts";
import { findFreePort } from "../../../../tests/free-port.ts";
import { type Instance, startInstance } from "../../../../tests/monitoring/start-instance.ts";
import { startJaeger } from "../../../../tests/monitoring/start-jaeger.ts";
import { until } from "../../../../tests/postgres/until.ts";
import { runRecorded } from "../recorded-context.ts";
import type { Check } from "./check.ts";

const programs = {
  prometheus: await peer("prometheus"),
  alertmanager: await peer("alertmanager"),
  jaeger: await peer("jaeger"),
  kubernetes: await peer("kubernetes"),
  clients: await peer("postgresql-clients"),
};
const isComplete = Object.values(programs).every((found) => found !== undefined);
const root = join(import.meta.dirname, "../../../..");

const started = new AsyncDisposableStack();
afterAll(() => started.disposeAsync(), 120_000);

async function doctor(environment: Record<string, string>, ...args: string[]) {
  const { code, out, err } = await runRecorded(environment, "doctor", "--on-call", "--json", ...args);
  expect(err).toBe("");
  const { checks, status } = JSON.parse(out) as { checks: Check[]; status: string };
  const find = (wanted: string): Check | undefined => checks.find(({ name }) => name === wanted);
  return { code, status, checks, find };
}

describe.skipIf(!isComplete)("with the real programs", () => {
  let folder: string;
  let environment: Record<string, string>;
  let instance: Instance;
  let prometheus: Prometheus;
  let plane: ControlPlane;
  let jaegerUrl: string;
  let alertmanagerUrl: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ectus-doctor-on-call-"));
    started.defer(() => rm(folder, { recursive: true, force: true }));
    // Side by side, and each to its end: what has started is ended, also if another one does not start.
    const starts = await Promise.allSettled([startObserved(), startCluster(), startAlerting()]);
    for (const start of starts) if (start.status === "rejected") throw start.reason;
    environment = {
      PATH: await commands(folder),
      HOME: folder,
      ECTUS_URL: instance.url,
      ECTUS_OPERATOR_KEY: instance.operatorKey,
      PROMETHEUS_URL: prometheus.url,
      ALERTMANAGER_URL: alertmanagerUrl,
      JAEGER_URL: jaegerUrl,
      DATABASE_OWNER_URL: instance.ownerUrl,
      KUBECONFIG: plane.kubeconfig,
      ON_CALL_CONTACTS: await ownContacts(folder),
    };
  }, 240_000);

  /** The service with a trace in Jaeger, and scraped by Prometheus. */
  async function startObserved(): Promise<void> {
    const jaeger = await startJaeger({ program: programs.jaeger?.files.jaeger as string });
    started.defer(() => jaeger.stop());
    jaegerUrl = jaeger.url;
    instance = await startInstance({
      OTEL_EXPORTER_OTLP_ENDPOINT: jaeger.otlpUrl,
      OTEL_TRACES_SAMPLER_ARG: "1",
    });
    started.defer(() => instance.stop());
    prometheus = await startPrometheus({
      path: programs.prometheus?.files.prometheus as string,
      folder: join(folder, "prometheus"),
      config: {
        global: { scrape_interval: "1s" },
        scrape_configs: [
          { job_name: "ectus", static_configs: [{ targets: [new URL(instance.metricsUrl).host] }] },
        ],
      },
      ruleFiles: await projectRules(),
    });
    started.defer(() => prometheus.stop());
    await fetch(`${instance.url}/v1/models`, { headers: { authorization: `Bearer ${instance.key}` } });
    await until(
      async () =>
        ((await (await fetch(`${jaeger.url}/api/services`)).json()) as Services).data?.includes("ectus") ===
        true,
      60_000,
    );
    await until(async () => (await prometheus.targets()).some(({ health }) => health === "up"), 60_000);
  }

  async function startCluster(): Promise<void> {
    plane = await startControlPlane({
      programs: programs.kubernetes?.files as NonNullable<typeof programs.kubernetes>["files"],
      namespace: "ectus",
    });
    started.defer(() => plane.stop());
    await plane.kubectl("create", "namespace", "ectus");
    for (const name of ["ectus", "ectus-worker"])
      await plane.kubectl("create", "deployment", name, "--image=ectus:1");
  }

  async function startAlerting(): Promise<void> {
    const program = programs.alertmanager?.files.alertmanager as string;
    const { alertmanager } = started.use(await startAlertmanagerRig(program, 1));
    alertmanagerUrl = alertmanager.url;
  }

  interface Services {
    readonly data?: readonly string[] | null;
  }

  test("all is well, and each check says what it tried", async () => {
    const { code, status, checks, find } = await doctor(environment, "--person", "ada");
    expect(checks.filter((check) => check.status !== "ok" && check.name !== "statements of others")).toEqual(
      [],
    );
    expect(code).toBe(0);
    // The tests' owner of the schema has not been given what a superuser grants.
    expect(status).toBe("warn");
    expect(find("statements of others")).toMatchObject({
      detail: expect.stringContaining(" lacks pg_read_all_stats and pg_signal_backend: "),
      fix: expect.stringMatching(/^As a superuser: grant pg_read_all_stats, pg_signal_backend to \w+;$/),
    });
    expect(checks.map(({ name }) => name)).toEqual([
      ...[
        "contacts file",
        "you on call",
        "API",
        "operator key",
        "Prometheus",
        "alert rules",
        "scrape of ectus",
      ],
      ...["Alertmanager", "receivers", "Jaeger", "database", "statements of others", "cluster"],
      ...["rights in the cluster", "ectus", "curl", "amtool", "promtool"],
    ]);
    expect(find("you on call")?.detail).toContain("Ada Lovelace is called at +442012345601");
    expect(find("alert rules")?.detail).toMatch(/^all [3-9]\d of this project are loaded$/);
    expect(find("receivers")?.detail).toContain("dead-mans-switch");
    expect(find("database")?.detail).toMatch(/^psql connects as \w+, which reads tenants, audit_log/);
    expect(find("cluster")?.detail).toContain("namespace ectus has the deployments ectus, ectus-worker");
    expect(find("rights in the cluster")?.detail).toContain("patch deployments/scale");
    expect(find("promtool")?.detail).toMatch(/^\d+\.\d+\.\d+$/);
  });

  // Of what a test is not about, programs that take long are not asked.
  const noCluster = { KUBECONFIG: "" };

  /** Runs with several accesses taken away, which are told apart. */
  async function without(
    change: Record<string, string>,
    expected: readonly (readonly [name: string, detail: RegExp])[],
  ): Promise<void> {
    const { code, find, checks } = await doctor({ ...environment, ...change });
    expect(code).toBe(1);
    for (const [name, detail] of expected) {
      expect(find(name)).toMatchObject({ status: "fail", detail: expect.stringMatching(detail) });
      expect(find(name)?.fix).toMatch(/\w{3}/);
    }
    expect(checks.filter(({ status }) => status === "fail")).toHaveLength(expected.length);
    expect(JSON.stringify(checks)).not.toContain("hunter2");
  }

  test("keys, passwords and programs that are missing or wrong are told, each by itself", async () => {
    await without(
      { ...noCluster, ECTUS_OPERATOR_KEY: instance.key, DATABASE_OWNER_URL: withPassword("hunter2") },
      [
        ["operator key", /lacks the scope 'operator'/],
        ["database", /password authentication failed/],
      ],
    );
    await without(
      { ...noCluster, ECTUS_OPERATOR_KEY: "sk-wrong", DATABASE_OWNER_URL: `${instance.ownerUrl}_none` },
      [
        ["operator key", /not valid/],
        ["database", /does not exist/],
      ],
    );
    await without({ ECTUS_OPERATOR_KEY: "", PATH: join(folder, "few") }, [
      ["operator key", /^ECTUS_OPERATOR_KEY is not set$/],
      ["database", /^psql is not on PATH$/],
      ["cluster", /^kubectl is not on PATH$/],
      ["amtool", /^amtool is not on PATH$/],
      ["promtool", /^promtool is not on PATH$/],
    ]);
  });

  test("addresses that lead nowhere or elsewhere are told, each by itself", async () => {
    const nowhere = `http://127.0.0.1:${await findFreePort()}`;
    await without(
      {
        ECTUS_URL: nowhere,
        PROMETHEUS_URL: instance.url,
        ALERTMANAGER_URL: prometheus.url,
        JAEGER_URL: instance.url,
        KUBECONFIG: join(folder, "none"),
        ON_CALL_CONTACTS: join(folder, "none"),
      },
      [
        ["API", /ECONNREFUSED/],
        ["Prometheus", /status 404/],
        ["Alertmanager", /status 404/],
        ["Jaeger", /status 404/],
        ["cluster", /current-context/],
        ["contacts file", /cannot be read/],
      ],
    );
    await without(
      {
        ...noCluster,
        ECTUS_URL: `${instance.url}/v1`,
        PROMETHEUS_URL: `${prometheus.url}/`,
        JAEGER_URL: "jaeger",
      },
      [
        ["API", /ends with \/v1/],
        ["Prometheus", /ends with a slash/],
        ["Jaeger", /^JAEGER_URL is no http or https URL/],
      ],
    );
  });

  test("a namespace without the service, and rights that are missing, are failures", async () => {
    const config = JSON.parse(await readFile(plane.kubeconfig, "utf8"));
    const elsewhere = join(folder, "elsewhere");
    for (const { context } of config.contexts) context.namespace = "default";
    await writeFile(elsewhere, JSON.stringify(config));
    const lost = await doctor({ ...environment, KUBECONFIG: elsewhere });
    expect(lost.find("cluster")).toMatchObject({
      status: "fail",
      detail: expect.stringContaining("namespace default has no deployment ectus, ectus-worker"),
      fix: expect.stringContaining("--namespace=ectus"),
    });
    expect(lost.find("rights in the cluster")?.status).toBe("ok");

    const viewer = join(folder, "viewer");
    await plane.kubectl("create", "rolebinding", "viewers", "--clusterrole=view", "--user=vera");
    for (const { user } of config.users) user.as = "vera";
    for (const { context } of config.contexts) context.namespace = "ectus";
    await writeFile(viewer, JSON.stringify(config));
    // The API server learns of a role's subjects a moment later.
    await until(
      async () =>
        (await plane.kubectl("auth", "can-i", "get", "deployments", "--as=vera").catch(String)).trim() ===
        "yes",
      30_000,
    );
    const { code, find } = await doctor({ ...environment, KUBECONFIG: viewer });
    expect(code).toBe(1);
    expect(find("rights in the cluster")).toMatchObject({
      status: "fail",
      detail:
        "context ectus, namespace ectus: you may not create pods/exec, delete pods, patch deployments, patch deployments/scale".replace(
          "context ectus",
          `context ${config["current-context"]}`,
        ),
    });
  });

  test("a Prometheus that watches something else is a failure, and one with older rules a warning", async () => {
    const rules = await projectRules();
    await prometheus.reload({ "alerts.yaml": "groups: []\n", "objective-rules.yaml": "groups: []\n" });
    try {
      expect((await doctor({ ...environment, ...noCluster })).find("alert rules")).toMatchObject({
        status: "fail",
      });
      const older = (rules["alerts.yaml"] ?? "").replace("alert: HighErrorRate", "alert: ManyErrors");
      await prometheus.reload({ ...rules, "alerts.yaml": older });
      expect((await doctor({ ...environment, ...noCluster })).find("alert rules")).toMatchObject({
        status: "warn",
        detail: "not loaded: HighErrorRate",
      });
    } finally {
      await prometheus.reload(rules);
    }
  });

  const withPassword = (password: string): string => {
    const url = new URL(instance.ownerUrl);
    url.password = password;
    return url.href;
  };
});

test("people get one line a check, and below it what to do", async () => {
  const { code, out } = await runRecorded({ PATH: "/nowhere" }, "doctor", "--on-call");
  expect(code).toBe(1);
  expect(out).toMatch(
    /^warn {2}contacts file: .*\n {6}Name your team's with --contacts or ON_CALL_CONTACTS\.\n/,
  );
  expect(out).toContain("\nfail  API: ECTUS_URL is not set\n      Set it to an address like ");
});

test("a password that is not encoded, and a URL that is none, are told as such and shown to nobody", async () => {
  const { code, find, checks } = await doctor({
    PATH: "/nowhere",
    PROMETHEUS_URL: "http://ada:hunter2%@127.0.0.1",
    DATABASE_OWNER_URL: "postgresql://ada:hunter2%@127.0.0.1/ectus",
  });
  expect(code).toBe(1);
  for (const name of ["Prometheus", "database"])
    expect(find(name)).toMatchObject({
      status: "fail",
      detail: expect.stringContaining("password that is not encoded"),
      fix: expect.stringContaining("% of a user or password as %25"),
    });
  expect(JSON.stringify(checks)).not.toContain("hunter2");
  const words = await doctor({ PATH: "/nowhere", DATABASE_OWNER_URL: "host=db password=hunter2" });
  expect(words.find("database")?.detail).toBe("DATABASE_OWNER_URL is no URL of PostgreSQL");
});

test.each([
  ["postgresql://ada:hunter%202@db:5432/ectus", "postgresql://ada@db:5432/ectus"],
  [
    "postgresql://ada:hunter%202@a,b:5433/ectus?target_session_attrs=any",
    "postgresql://ada@a,b:5433/ectus?target_session_attrs=any",
  ],
  ["postgres://db/ectus?password=hunter%202&sslmode=require", "postgres://db/ectus?sslmode=require"],
])("psql gets the password of %s where others on the machine do not see it", async (url, address) => {
  const folder = await mkdtemp(join(tmpdir(), "ectus-psql-"));
  try {
    const psql = join(folder, "psql");
    await writeFile(psql, '#!/bin/sh\necho "$* and $PGPASSWORD" >&2\nexit 1\n');
    await chmod(psql, 0o755);
    const { find } = await doctor({ PATH: folder, DATABASE_OWNER_URL: url });
    expect(find("database")?.detail).toMatch(/ and hunter 2$/);
    expect(find("database")?.detail).toContain(`--dbname=${address} and`);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a program that is there and does not work is told from one that is not there", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ectus-curl-"));
  try {
    await writeFile(join(folder, "curl"), "#!/bin/sh\necho 'curl: no libssl' >&2\nexit 1\n");
    await chmod(join(folder, "curl"), 0o755);
    const { find } = await doctor({ PATH: folder });
    expect(find("curl")).toMatchObject({
      status: "fail",
      detail: "curl: no libssl",
      fix: "'curl --version' must tell its version: look which curl is the first on PATH.",
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("without anything set, every check but the cluster's fails by itself, and nobody's person is told who there is", async () => {
  const { code, checks, find } = await doctor({ PATH: "/nowhere" }, "--person", "nobody");
  expect(code).toBe(1);
  expect(find("you on call")).toMatchObject({ status: "fail", fix: expect.stringContaining("ada, grace") });
  expect(find("contacts file")).toMatchObject({ status: "warn", detail: expect.stringContaining("example") });
  for (const { name, status, fix } of checks) {
    const wanted = name === "contacts file" || name === "cluster" ? "warn" : "fail";
    expect([name, status]).toEqual([name, wanted]);
    expect(fix).not.toBeNull();
  }
  expect(find("cluster")?.detail).toBe("KUBECONFIG is not set, so the cluster is not checked");
});

test("--person and --contacts belong to --on-call", async () => {
  const { code, err } = await runRecorded({}, "doctor", "--person", "ada");
  expect(code).toBe(2);
  expect(err).toContain("Add --on-call");
});

test("a server that asks to log in first, or speaks of something else, is told as such", async () => {
  const server = createServer(({ url }, response) => {
    if (url?.startsWith("/prometheus"))
      response.writeHead(302, { location: "https://login.corp.test/" }).end();
    else response.end(url?.startsWith("/jaeger") ? "[]" : "<html>");
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { find } = await doctor({
      PATH: "/nowhere",
      PROMETHEUS_URL: `${url}/prometheus`,
      ALERTMANAGER_URL: url,
      JAEGER_URL: `${url}/jaeger`,
    });
    expect(find("Prometheus")?.detail).toContain("sends on to https://login.corp.test/, perhaps to log in");
    expect(find("Alertmanager")?.detail).toContain("something else than JSON");
    expect(find("Jaeger")?.detail).toContain("what answers is no Jaeger");
  } finally {
    server.close();
  }
});

test("a server that never answers is given up", async () => {
  // The wait is the only thing that is shorter here.
  const timeout = AbortSignal.timeout.bind(AbortSignal);
  const waits = vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => timeout(ms / 20));
  const server = createServer(() => {});
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { code, find } = await doctor({ PATH: "/nowhere", PROMETHEUS_URL: url, JAEGER_URL: url });
    expect(code).toBe(1);
    for (const name of ["Prometheus", "Jaeger"])
      expect(find(name)).toMatchObject({
        status: "fail",
        detail: expect.stringContaining("did not answer within 10 seconds"),
      });
    expect(waits).toHaveBeenCalledWith(10_000);
  } finally {
    waits.mockRestore();
    server.closeAllConnections();
    server.close();
  }
});

async function projectRules(): Promise<Record<string, string>> {
  const names = ["alerts.yaml", "recording-rules.yaml", "objective-rules.yaml"];
  const texts = await Promise.all(names.map((name) => readFile(join(root, "k8s/prometheus", name), "utf8")));
  return Object.fromEntries(names.map((name, index) => [name, texts[index] ?? ""]));
}

/** PATH with what somebody on call has; below it the folder `few`, which has curl and ectus alone. */
async function commands(folder: string): Promise<string> {
  const few = join(folder, "few");
  await mkdir(few);
  const ectus = join(few, "ectus");
  const main = join(root, "packages/cli/src/main.ts");
  await writeFile(ectus, `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
  await chmod(ectus, 0o755);
  await symlink("/usr/bin/curl", join(few, "curl"));
  const { prometheus, alertmanager, kubernetes, clients } = programs;
  const files = [
    prometheus?.files.promtool,
    alertmanager?.files.amtool,
    kubernetes?.files.kubectl,
    clients?.files.psql,
  ];
  return [few, ...files.map((file) => dirname(file ?? ""))].join(":");
}

/** The example with people who can be called. */
async function ownContacts(folder: string): Promise<string> {
  const example = await readFile(join(root, "docs/operations/contacts.yaml"), "utf8");
  const file = join(folder, "contacts.yaml");
  const text = example.replaceAll(/@example\.(com|net)/g, "@corp.test");
  await writeFile(file, text.replaceAll(/"\+\d+(\d\d)"/g, '"+4420123456$1"'));
  return file;
}
