// What Alertmanager says of alerts, notifications and itself.
import { oneOf } from "./entry.ts";
import { anyOf, seriesOf } from "./external-entry.ts";

const integration = anyOf("what sends notifications, as `slack` or `pagerduty`");
const version = oneOf("v2");

export const alertmanagerSeries = seriesOf("alertmanager", {
  gauge: {
    alertmanager_alerts: { state: oneOf("active", "suppressed", "unprocessed") },
    alertmanager_build_info: {
      version: anyOf("the version of Alertmanager"),
      revision: anyOf("the commit that it was built from"),
      branch: anyOf("the branch that it was built from"),
      goversion: anyOf("the version of Go"),
      goos: anyOf("the operating system"),
      goarch: anyOf("the processor"),
      tags: anyOf("tags of the build"),
    },
    alertmanager_cluster_enabled: {},
    alertmanager_config_hash: {},
    alertmanager_config_last_reload_success_timestamp_seconds: {},
    alertmanager_config_last_reload_successful: {},
    alertmanager_dispatcher_aggregation_groups: {},
    alertmanager_inhibition_rules: {},
    alertmanager_integrations: {},
    alertmanager_receivers: {},
    alertmanager_silences: { state: oneOf("active", "expired", "pending") },
  },
  counter: {
    alertmanager_alerts_invalid_total: { version },
    alertmanager_alerts_received_total: { status: oneOf("firing", "resolved"), version },
    alertmanager_notification_requests_failed_total: { integration },
    alertmanager_notification_requests_total: { integration },
    alertmanager_notifications_failed_total: {
      integration,
      reason: oneOf(
        "authError",
        "clientError",
        "contextCanceled",
        "contextDeadlineExceeded",
        "other",
        "rateLimited",
        "serverError",
      ),
    },
    alertmanager_notifications_total: { integration },
    alertmanager_silences_maintenance_errors_total: {},
    alertmanager_nflog_maintenance_errors_total: {},
  },
  histogram: {
    alertmanager_http_request_duration_seconds: {
      code: anyOf("the status code"),
      handler: anyOf("the path of Alertmanager's API"),
      method: anyOf("the method"),
    },
    alertmanager_notification_latency_seconds: { integration },
  },
});
