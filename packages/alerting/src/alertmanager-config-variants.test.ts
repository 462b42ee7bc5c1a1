import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { addPagerDuty, shortenAlertmanagerConfig } from "./alertmanager-config-variants.ts";

const config = `
# Why.
templates: [/etc/alertmanager/templates/*.tmpl]
route:
  receiver: platform-page
  group_wait: 10s
  group_interval: 1h30m
  repeat_interval: 4d
  routes:
    - receiver: tickets
      active_time_intervals: [business-hours]
      group_wait: 0s
receivers:
  - name: platform-page
    slack_configs: [{ api_url_file: /etc/alertmanager/secrets/slack-pages-url, timeout: 5s }]
  - name: tickets
    webhook_configs: [{ url_file: /etc/alertmanager/secrets/other-url }]
`;
const settings = { factor: 60, folder: "/scratch", pagerDutyUrl: "http://127.0.0.1:1/v2/enqueue" };

describe("the configuration for drills", () => {
  test("has shorter times, other places for files, and tells tickets at any hour; all else stays", () => {
    const shortened: unknown = parse(shortenAlertmanagerConfig(config, settings));
    expect(shortened).toEqual({
      templates: ["/scratch/templates/*.tmpl"],
      route: {
        receiver: "platform-page",
        group_wait: "167ms",
        group_interval: "90s",
        repeat_interval: "96m",
        routes: [{ receiver: "tickets", group_wait: "0s" }],
      },
      receivers: [
        {
          name: "platform-page",
          slack_configs: [{ api_url_file: "/scratch/secrets/slack-pages-url", timeout: "5s" }],
        },
        { name: "tickets", webhook_configs: [{ url_file: "/scratch/secrets/other-url" }] },
      ],
      global: { pagerduty_url: settings.pagerDutyUrl },
    });
  });

  test("is refused where a time is none", () => {
    expect(() => shortenAlertmanagerConfig("route:\n  group_wait: soon\n", settings)).toThrow(
      'group_wait is "soon"; it is a duration such as 10s',
    );
  });
});

describe("the configuration with PagerDuty", () => {
  test("has the addition at the receiver of pages, and all comments", () => {
    const made = addPagerDuty(config, "pagerduty_configs:\n  # Once.\n  - routing_key_file: a\n");
    expect(made).toMatch(/^# Made from [\s\S]*# Why\.[\s\S]*# Once\./);
    const before = parse(config) as { receivers: readonly object[] };
    expect(parse(made)).toEqual({
      ...before,
      receivers: [
        { ...before.receivers[0], pagerduty_configs: [{ routing_key_file: "a" }] },
        before.receivers[1],
      ],
    });
  });

  test("is refused without that receiver, and where it is no YAML", () => {
    expect(() => addPagerDuty("receivers: [{ name: a }]", "")).toThrow("no receiver is called platform-page");
    expect(() => addPagerDuty("a: [", "")).toThrow("is not valid");
  });
});
