// What Prometheus says of its targets, of alerts and of itself.
import { oneOf } from "./entry.ts";
import { anyOf, type ExternalSeries, seriesOf } from "./external-entry.ts";

const alertmanager = anyOf("the URL of an Alertmanager");
const group = { rule_group: anyOf("file and name of a group of rules") };
const pool = { scrape_job: anyOf("the name of a job") };
const sampleType = { type: oneOf("float", "histogram") };

// Made for each target or alert by Prometheus itself, so they are in no scrape's answer and have no type there.
const synthetic = seriesOf("prometheus", {
  gauge: {
    up: {},
    scrape_duration_seconds: {},
    scrape_samples_scraped: {},
    scrape_samples_post_metric_relabeling: {},
    scrape_series_added: {},
  },
});

const alertLabels = {
  alertname: anyOf("the name of an alert"),
  severity: oneOf("page", "ticket", "info"),
  team: anyOf("who gets the alert"),
  area: anyOf("what the alert is about"),
};

const alerts: Readonly<Record<string, ExternalSeries>> = {
  ALERTS: {
    program: "prometheus",
    version: "3.16.0",
    type: "gauge",
    labels: { ...alertLabels, alertstate: oneOf("pending", "firing") },
    anyLabel: true,
  },
  ALERTS_FOR_STATE: {
    program: "prometheus",
    version: "3.16.0",
    type: "gauge",
    labels: alertLabels,
    anyLabel: true,
  },
};

/** Names that are in no scrape's answer. */
export const syntheticSeries: readonly string[] = [...Object.keys(synthetic), ...Object.keys(alerts)];

export const prometheusSeries: Readonly<Record<string, ExternalSeries>> = {
  ...synthetic,
  ...alerts,
  ...seriesOf("prometheus", {
    gauge: {
      prometheus_build_info: {
        version: anyOf("the version of Prometheus"),
        revision: anyOf("the commit that it was built from"),
        branch: anyOf("the branch that it was built from"),
        goversion: anyOf("the version of Go"),
        goos: anyOf("the operating system"),
        goarch: anyOf("the processor"),
        tags: anyOf("tags of the build"),
      },
      prometheus_config_last_reload_successful: {},
      prometheus_config_last_reload_success_timestamp_seconds: {},
      prometheus_engine_queries: {},
      prometheus_engine_queries_concurrent_max: {},
      prometheus_notifications_alertmanagers_discovered: {},
      prometheus_notifications_queue_capacity: {},
      prometheus_notifications_queue_length: { alertmanager },
      prometheus_ready: {},
      prometheus_rule_group_interval_seconds: group,
      prometheus_rule_group_last_duration_seconds: group,
      prometheus_rule_group_last_evaluation_samples: group,
      prometheus_rule_group_last_evaluation_timestamp_seconds: group,
      prometheus_rule_group_rules: group,
      prometheus_sd_discovered_targets: {
        config: anyOf("the name of a job"),
        name: oneOf("scrape", "notify"),
      },
      prometheus_target_scrape_pool_targets: pool,
      prometheus_tsdb_blocks_loaded: {},
      prometheus_tsdb_exemplar_exemplars_in_storage: {},
      prometheus_tsdb_head_chunks: {},
      prometheus_tsdb_head_chunks_storage_size_bytes: {},
      prometheus_tsdb_head_max_time_seconds: {},
      prometheus_tsdb_head_min_time_seconds: {},
      prometheus_tsdb_head_series: {},
      prometheus_tsdb_head_stale_series: {},
      prometheus_tsdb_lowest_timestamp_seconds: {},
      prometheus_tsdb_retention_limit_bytes: {},
      prometheus_tsdb_retention_limit_seconds: {},
      prometheus_tsdb_storage_blocks_bytes: {},
      prometheus_tsdb_symbol_table_size_bytes: {},
      prometheus_tsdb_wal_storage_size_bytes: {},
    },
    counter: {
      prometheus_engine_query_samples_total: {},
      prometheus_http_requests_total: {
        code: anyOf("the status code"),
        handler: anyOf("the path of Prometheus's API"),
      },
      prometheus_notifications_dropped_total: { alertmanager },
      prometheus_notifications_errors_total: { alertmanager },
      prometheus_notifications_sent_total: { alertmanager },
      prometheus_rule_evaluation_failures_total: group,
      prometheus_rule_evaluations_total: group,
      prometheus_rule_group_iterations_missed_total: group,
      prometheus_rule_group_iterations_total: group,
      prometheus_target_scrape_pool_exceeded_target_limit_total: {},
      prometheus_target_scrape_pool_reloads_failed_total: {},
      prometheus_target_scrapes_exceeded_body_size_limit_total: {},
      prometheus_target_scrapes_exceeded_sample_limit_total: {},
      prometheus_target_scrapes_sample_duplicate_timestamp_total: {},
      prometheus_target_scrapes_sample_out_of_bounds_total: {},
      prometheus_target_scrapes_sample_out_of_order_total: {},
      prometheus_target_sync_failed_total: pool,
      prometheus_tsdb_checkpoint_creations_failed_total: {},
      prometheus_tsdb_compactions_failed_total: {},
      prometheus_tsdb_compactions_total: {},
      prometheus_tsdb_head_samples_appended_total: sampleType,
      prometheus_tsdb_head_series_created_total: {},
      prometheus_tsdb_head_series_removed_total: {},
      prometheus_tsdb_mmap_chunk_corruptions_total: {},
      prometheus_tsdb_reloads_failures_total: {},
      prometheus_tsdb_size_retentions_total: {},
      prometheus_tsdb_time_retentions_total: {},
      prometheus_tsdb_wal_corruptions_total: {},
      prometheus_tsdb_wal_truncations_failed_total: {},
      prometheus_tsdb_wal_writes_failed_total: {},
    },
    summary: {
      prometheus_engine_query_duration_seconds: {
        slice: oneOf("inner_eval", "prepare_time", "queue_time", "result_sort"),
      },
      prometheus_notifications_latency_seconds: { alertmanager },
      prometheus_rule_evaluation_duration_seconds: {},
      prometheus_rule_group_duration_seconds: {},
      prometheus_target_interval_length_seconds: { interval: anyOf("the interval that was asked for") },
    },
    histogram: {
      prometheus_http_request_duration_seconds: { handler: anyOf("the path of Prometheus's API") },
      prometheus_target_scrape_duration_seconds: {},
    },
  }),
};
