// What people read: messages as they arrive at Slack and PagerDuty from a real Alertmanager with the project's templates.
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { announces, type Message, type PostedAlert, type SlackMessage } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type AlertmanagerRig,
  type Labels,
  startAlertmanagerRig,
  templatesFolder,
} from "./alertmanager-rig.ts";

const programs = await peer("alertmanager");
const run = promisify(execFile);
const timeoutMs = 20_000;

const startsAt = new Date(Date.now() - 723_000);
const date = (time: Date): string => {
  const text = `${time.toISOString().slice(0, 16).replace("T", " ")} UTC`;
  return `<!date^${Math.floor(time.getTime() / 1000)}^{date_short_pretty} {time}|${text}>`;
};

function pageAlert(alertname: string, labels: Labels = {}, annotations: Labels = {}): PostedAlert {
  return {
    labels: { alertname, severity: "page", team: "platform", area: "api", job: "ectus", ...labels },
    annotations: {
      summary: "12.3% of requests fail",
      description:
        "More than 5 % of requests have failed for 5 minutes: 12.3% of them. Customers see errors.",
      runbook_url: `https://git.example/runbooks/${alertname}.md`,
      traces_url: "https://jaeger.example/search?service=ectus&lookback=1h",
      ...annotations,
    },
    startsAt: startsAt.toISOString(),
    generatorURL: "https://prometheus.example/graph?g0.expr=a+%3E+1&g0.tab=1",
  };
}

const silenceOf = (url: string, labels: Labels): string => {
  const matchers = Object.keys(labels)
    .sort()
    .map((name) => `${name}=${JSON.stringify(labels[name])}`);
  // Alertmanager's labels come with the alert's name first.
  return `${url}/#/silences/new?filter=${encodeURIComponent(`{${matchers.join(",")}}`)}`;
};

describe.skipIf(!programs)("a message", () => {
  let rig: AlertmanagerRig;
  beforeAll(async () => {
    rig = await startAlertmanagerRig(programs?.files.alertmanager ?? "", 600);
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  const arrived = async (isTheOne: (message: SlackMessage) => boolean): Promise<SlackMessage> => {
    const message = await rig.receiver.waitFor(
      (each) => each.service === "slack" && isTheOne(each),
      timeoutMs,
    );
    return message as SlackMessage;
  };
  const attachment = ({ payload }: SlackMessage) => payload.attachments?.[0] ?? {};
  const paged = (alert: string, status: "firing" | "resolved") =>
    rig.receiver.waitFor(
      (message: Message) => message.service === "pagerduty" && announces(message, alert, status),
      timeoutMs,
    );
  const end = (alert: PostedAlert, endsAt: Date): Promise<void> =>
    rig.alertmanager.post([{ ...alert, endsAt: endsAt.toISOString() }]);

  test("to Slack says what, since when, how bad and what to do, and that it is over", async () => {
    const alert = pageAlert("HighErrorRate");
    await rig.alertmanager.post([alert]);
    const firing = await arrived((message) => announces(message, "HighErrorRate", "firing"));
    expect(firing.channel).toBe("pages");
    expect(attachment(firing)).toMatchObject({
      color: "danger",
      title: "FIRING HighErrorRate: 12.3% of requests fail",
      title_link: "https://git.example/runbooks/HighErrorRate.md",
      fallback: "FIRING HighErrorRate: 12.3% of requests fail",
    });
    expect(attachment(firing).text?.split("\n")).toEqual([
      `*page* in api, since ${date(startsAt)}`,
      [
        "<https://git.example/runbooks/HighErrorRate.md|Runbook>",
        "<https://jaeger.example/search?service=ectus&amp;lookback=1h|Traces>",
        "<https://prometheus.example/graph?g0.expr=a+%3E+1&amp;g0.tab=1|Graph>",
        `<${silenceOf(rig.alertmanager.url, alert.labels)}|Silence>`,
      ].join("  "),
      "More than 5 % of requests have failed for 5 minutes: 12.3% of them. Customers see errors.",
    ]);

    const endsAt = new Date(startsAt.getTime() + 722_000);
    await end(alert, endsAt);
    const resolved = await arrived((message) => announces(message, "HighErrorRate", "resolved"));
    expect(attachment(resolved)).toMatchObject({
      color: "good",
      title: "RESOLVED HighErrorRate after 12m 2s",
    });
    expect(attachment(resolved).text?.split("\n")).toEqual([
      "*page* in api is over",
      expect.stringMatching(/^<https:.*[|]Runbook>.*[|]Traces>.*[|]Graph> *$/),
      `• lasted 12m 2s, from ${date(startsAt)} to ${date(endsAt)}`,
    ]);
    expect(attachment(resolved).text).not.toContain("Silence");
  });

  test("to PagerDuty opens an incident and closes the same one", async () => {
    const alert = pageAlert("DatabaseConnectionErrors", { area: "database" });
    await rig.alertmanager.post([alert]);
    const opened = await paged("DatabaseConnectionErrors", "firing");
    await end(alert, new Date(Date.now() - 1_000));
    const closed = await paged("DatabaseConnectionErrors", "resolved");
    if (opened.service !== "pagerduty" || closed.service !== "pagerduty")
      throw new Error("not for PagerDuty");
    expect(opened.event).toMatchObject({
      event_action: "trigger",
      client: "Alertmanager",
      client_url: rig.alertmanager.url,
      payload: {
        summary: "DatabaseConnectionErrors: 12.3% of requests fail",
        source: "ectus",
        severity: "critical",
        class: "DatabaseConnectionErrors",
        component: "database",
        group: "platform",
      },
      links: [
        { text: "Runbook", href: "https://git.example/runbooks/DatabaseConnectionErrors.md" },
        { text: "Traces", href: "https://jaeger.example/search?service=ectus&lookback=1h" },
        { text: "Graph", href: "https://prometheus.example/graph?g0.expr=a+%3E+1&g0.tab=1" },
        { text: "Silence", href: silenceOf(rig.alertmanager.url, alert.labels) },
      ],
    });
    expect(opened.event.payload?.custom_details).toEqual({
      firing: [
        {
          what: alert.annotations?.description,
          labels: {},
          since: `${startsAt.toISOString().slice(0, 19).replace("T", " ")} UTC`,
        },
      ],
      resolved: [],
      num_firing: 1,
      num_resolved: 0,
    });
    expect(opened.event.dedup_key).toMatch(/^\w+$/);
    expect(closed.event.dedup_key).toBe(opened.event.dedup_key);
  });

  test("shows what would be Slack's own marks as it is, and its silence link keeps every character", async () => {
    const model = 'a <!channel> & "b" \\ c+d|e%20 é';
    const alert = pageAlert(
      "Hostile",
      { model, area: "a <!channel>", severity: "<!here>" },
      { summary: "<!here> a & b", description: "<https://evil.example|Runbook>" },
    );
    await rig.alertmanager.post([alert]);
    const message = await arrived((each) => announces(each, "Hostile", "firing"));
    const { title = "", text = "" } = attachment(message);
    expect(title).toBe("FIRING Hostile: &lt;!here&gt; a &amp; b");
    expect(text).toContain("&lt;https://evil.example|Runbook&gt; (model=a &lt;!channel&gt; &amp; ");
    expect(text).toMatch(/^\*&lt;!here&gt;\* in a &lt;!channel&gt;, since <!date/);
    const marks = [...text.matchAll(/<([^>]*)>/g)].map(([, mark = ""]) => mark.split("|").at(-1));
    expect(marks.slice(1)).toEqual(["Runbook", "Traces", "Graph", "Silence"]);

    // What the page for a new silence would be filled in with selects exactly this alert.
    const link = /<([^|>]*)\|Silence>/.exec(text)?.[1] ?? "";
    const filter = decodeURIComponent(link.slice(link.indexOf("filter=") + "filter=".length));
    const { stdout } = await run(programs?.files.amtool ?? "", [
      ...["alert", "query", `--alertmanager.url=${rig.alertmanager.url}`, "--output=json"],
      ...filter.slice(1, -1).split(/,(?=\w+=")/),
    ]);
    expect((JSON.parse(stdout) as readonly { labels: Labels }[]).map(({ labels }) => labels)).toEqual([
      alert.labels,
    ]);
  });

  test("of many alerts lists five and says how many, and is short enough to be read", async () => {
    // As long as it gets: & is five characters for Slack.
    const long = "&x".repeat(1_500);
    const all = Array.from({ length: 50 }, (_, index) =>
      pageAlert("InstanceBroken", { instance: `${index}:9090`, model: long }, { description: long }),
    );
    await rig.alertmanager.post(all);
    const message = await arrived(({ title }) => title === "FIRING InstanceBroken: 50 alerts");
    expect(message.text.match(/instance=\d+:9090 model=(?:&x){40}…\) since /g)).toHaveLength(5);
    expect(message.text.match(/• (?:&x){300}… \(/g)).toHaveLength(5);
    expect(message.text).toMatch(/\nand more: 50 in all$/);
    expect(attachment(message).text?.length).toBeLessThan(30_000);
    const listed = await rig.receiver.waitFor(
      (each) =>
        each.service === "pagerduty" &&
        each.event.payload?.summary.startsWith("InstanceBroken: 50 alerts, first: 12.3% ") === true,
      timeoutMs,
    );
    expect(listed).toMatchObject({ event: { payload: { custom_details: { num_firing: 50 } } } });
    expect(listed.service === "pagerduty" && listed.event.payload?.custom_details?.firing).toHaveLength(20);
    expect(rig.alertmanager.log()).not.toContain("Truncated");

    const [first, ...others] = all;
    if (first === undefined) throw new Error("there are none");
    await Promise.all(others.map((alert) => end(alert, new Date(startsAt.getTime() + 60_000))));
    const mixed = await arrived(
      ({ title, text }) => title.startsWith("FIRING InstanceBroken: 12.3%") && text.includes("Resolved: "),
    );
    expect(mixed.text).toContain("lasted 1m 0s, from ");
  });

  test("of an alert that says nothing of itself still arrives", async () => {
    await rig.alertmanager.post([{ labels: { alertname: "Bare" } }]);
    const message = await arrived((each) => announces(each, "Bare", "firing"));
    expect(message.text).toContain("*unknown severity* in no area, since ");
    expect(message.text).toContain("It says nothing more.");
    expect(await paged("Bare", "firing")).toMatchObject({
      event: { payload: { severity: "error", source: "ectus" } },
    });
  });

  test("of a ticket and of what is to be read goes to channels of their own", async () => {
    await rig.alertmanager.post([
      pageAlert("SlowQueries", { severity: "ticket", area: "database" }),
      pageAlert("MetricsSeriesDropped", { severity: "info", area: "monitoring" }),
    ]);
    const ticket = await arrived((message) => announces(message, "SlowQueries", "firing"));
    const info = await arrived((message) => announces(message, "MetricsSeriesDropped", "firing"));
    expect([ticket.channel, attachment(ticket).color]).toEqual(["tickets", "warning"]);
    expect([info.channel, attachment(info).color]).toEqual(["info", "#439FE0"]);
    expect(
      rig.receiver.messages.some(
        (each) => announces(each, "SlowQueries", "firing") && each.service === "pagerduty",
      ),
    ).toBe(false);
  });

  test("is rendered by amtool as it arrives", async () => {
    const data = join(rig.folder, "data.json");
    const labels = { alertname: "Rendered", severity: "page", team: "platform", area: "api" };
    const alert = {
      status: "firing",
      labels,
      annotations: { summary: "a < b" },
      startsAt: startsAt.toISOString(),
    };
    await writeFile(
      data,
      JSON.stringify({
        status: "firing",
        externalURL: rig.alertmanager.url,
        groupLabels: { alertname: "Rendered", area: "api" },
        commonLabels: labels,
        alerts: [{ ...alert, endsAt: "0001-01-01T00:00:00Z" }],
      }),
    );
    const render = async (name: string): Promise<string> => {
      const text = `--template.text={{ template "${name}" . }}`;
      const glob = `--template.glob=${templatesFolder}/*.tmpl`;
      const { stdout } = await run(programs?.files.amtool ?? "", [
        "template",
        "render",
        glob,
        `--template.data=${data}`,
        text,
      ]);
      return stdout;
    };
    await rig.alertmanager.post([
      { labels, annotations: alert.annotations, startsAt: alert.startsAt, generatorURL: "" },
    ]);
    const message = attachment(await arrived((each) => announces(each, "Rendered", "firing")));
    expect(await render("ectus.slack.title")).toBe(message.title);
    expect(await render("ectus.slack.text")).toBe(message.text);
  });
});
