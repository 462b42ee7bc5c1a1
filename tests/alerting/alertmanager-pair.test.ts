// Two Alertmanagers that know of each other, started with the flags of k8s/prometheus/alertmanager.yaml: what Prometheus
// sends to both is told once, and by the other when one is gone.
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shortenAlertmanagerConfig } from "@ectus/alerting";
import { announces, type Program, type Receiver, startProgram, startReceiver } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { findFreePort } from "../free-port.ts";
import { until } from "../postgres/until.ts";
import { configFolder, type Labels, pagerDutyConfigFile, templatesFolder } from "./alertmanager-rig.ts";

const programs = await peer("alertmanager");
const timeoutMs = 60_000;

interface Member {
  readonly url: string;
  readonly program: Program;
}

interface StatefulSet {
  readonly kind: string;
  readonly spec: {
    readonly replicas: number;
    readonly template: {
      readonly spec: { readonly containers: readonly { readonly args: readonly string[] }[] };
    };
  };
}

/** The flags of the manifest, for the one of this index of those with the given gossip ports. */
async function flagsOf(index: number, gossip: readonly number[], folder: string, url: string) {
  const text = await readFile(join(configFolder, "../alertmanager.yaml"), "utf8");
  const { spec } = parseAllDocuments(text)
    .map((document) => document.toJS() as StatefulSet)
    .find(({ kind }) => kind === "StatefulSet") as StatefulSet;
  expect(spec.replicas).toBe(gossip.length);
  const own = `127.0.0.1:${gossip[index]}`;
  const here: Readonly<Record<string, string>> = {
    "/etc/alertmanager/config/config.yaml": join(folder, "config.yaml"),
    "/alertmanager": join(folder, `data-${index}`),
    "$(EXTERNAL_URL)": url,
    "$(POD_IP):9094": own,
    ...Object.fromEntries(
      gossip.map((port, each) => [`alertmanager-${each}.alertmanager:9094`, `127.0.0.1:${port}`]),
    ),
  };
  const flags = (spec.template.spec.containers[0]?.args ?? []).map((flag) => {
    const [name = "", value = ""] = flag.split("=");
    return `${name}=${here[value] ?? value}`;
  });
  // Where they listen is up to the pod; and the second waits for a shorter time to hear that the first has told.
  const address = `--web.listen-address=${new URL(url).host}`;
  return [...flags, address, `--cluster.listen-address=${own}`, "--cluster.peer-timeout=5s"];
}

describe.skipIf(!programs)("two Alertmanagers", () => {
  let folder: string;
  let receiver: Receiver;
  const members: Member[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ectus-alertmanagers-"));
    receiver = await startReceiver();
    const { pagerDutyUrl, secrets } = receiver;
    const config = await readFile(pagerDutyConfigFile, "utf8");
    await Promise.all([
      cp(templatesFolder, join(folder, "templates"), { recursive: true }),
      mkdir(join(folder, "secrets")),
      writeFile(
        join(folder, "config.yaml"),
        shortenAlertmanagerConfig(config, { factor: 30, folder, pagerDutyUrl }),
      ),
    ]);
    for (const [name, text] of Object.entries(secrets)) await writeFile(join(folder, "secrets", name), text);
    const gossip = [await findFreePort(), await findFreePort()];
    await Promise.all(
      gossip.map(async (_, index) => {
        const url = `http://127.0.0.1:${await findFreePort()}`;
        const program = await startProgram({
          name: `Alertmanager ${index}`,
          path: programs?.files.alertmanager ?? "",
          args: await flagsOf(index, gossip, folder, url),
          ready: async () => (await fetch(`${url}/-/ready`)).ok,
          timeoutMs,
        });
        members.push({ url, program });
      }),
    );
  }, 2 * timeoutMs);
  afterAll(async () => {
    await Promise.all(members.map(({ program }) => program.stop()));
    await receiver?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const metric = async ({ url }: Member, name: string): Promise<number> => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
  };
  const post = async ({ url }: Member, resource: string, body: object): Promise<void> => {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${url}/api/v2/${resource}`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${resource} was answered ${answer.status}: ${await answer.text()}`);
  };
  // As Prometheus does.
  const postToBoth = (labels: Labels) =>
    Promise.all(members.map((member) => post(member, "alerts", [{ labels }])));
  const page = (alertname: string) => ({
    alertname,
    severity: "page",
    team: "platform",
    area: "api",
    job: "ectus",
  });
  const told = (alert: string) =>
    receiver.messages.filter((message) => announces(message, alert, "firing")).map(({ service }) => service);
  const inOrder = async (): Promise<readonly [Member, Member]> => {
    const [one, two] = members as [Member, Member];
    return (await metric(one, "alertmanager_cluster_peer_position")) === 0 ? [one, two] : [two, one];
  };

  test(
    "tell once what both are sent",
    async () => {
      for (const member of members)
        await until(async () => (await metric(member, "alertmanager_cluster_members")) === 2, timeoutMs, 50);
      await postToBoth(page("Once"));
      await until(() => told("Once").length > 0, timeoutMs);
      const [, second] = await inOrder();
      // It asks what has been told when its turn comes, once for Slack and once for PagerDuty. Once it has come for the
      // second time, the first is over.
      await until(async () => (await metric(second, "alertmanager_nflog_queries_total")) >= 4, timeoutMs, 50);
      expect([...told("Once")].sort()).toEqual(["pagerduty", "slack"]);
    },
    2 * timeoutMs,
  );

  test("share a silence", async () => {
    const [first, second] = await inOrder();
    const now = Date.now();
    await post(first, "silences", {
      matchers: [{ name: "alertname", value: "Silenced", isRegex: false, isEqual: true }],
      startsAt: new Date(now).toISOString(),
      endsAt: new Date(now + 3_600_000).toISOString(),
      createdBy: "test",
      comment: "test",
    });
    await until(
      async () => (await metric(second, 'alertmanager_silences\\{state="active"\\}')) === 1,
      timeoutMs,
      50,
    );
  });

  test(
    "tell by the second what fires after the first is gone",
    async () => {
      const [first, second] = await inOrder();
      process.kill(first.program.pid, "SIGKILL");
      await first.program.exited;
      await post(second, "alerts", [{ labels: page("Survived") }]);
      await until(() => told("Survived").length === 2, timeoutMs);
      await until(async () => (await metric(second, "alertmanager_cluster_members")) === 1, timeoutMs, 50);
      expect([...told("Survived")].sort()).toEqual(["pagerduty", "slack"]);
      expect(told("Once")).toHaveLength(2);
    },
    2 * timeoutMs,
  );
});
