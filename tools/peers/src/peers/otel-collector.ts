// The OpenTelemetry Collector with what k8s/otel-collector/collector.yaml uses, which reads log lines, and with what a
// pipeline of traces needs.
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "../command.ts";
import { buildTimeoutMs } from "../go.ts";
import { goInstall } from "../go-install.ts";
import { definePeer, type GetContext } from "../peer.ts";
import { inspectPrograms } from "../programs.ts";

const version = "0.160.0";
const name = "otelcol";
const names = [name] as const;

const core = "go.opentelemetry.io/collector";
const contrib = "github.com/open-telemetry/opentelemetry-collector-contrib";
const components = {
  receivers: [`${contrib}/receiver/filelogreceiver`, `${core}/receiver/otlpreceiver`],
  processors: [`${core}/processor/memorylimiterprocessor`, `${core}/processor/batchprocessor`],
  exporters: [`${core}/exporter/otlphttpexporter`, `${core}/exporter/debugexporter`],
  extensions: [`${contrib}/extension/storage/filestorage`, `${contrib}/extension/healthcheckextension`],
};

export const otelCollector = definePeer({
  name: "otel-collector",
  version,
  about: "the OpenTelemetry Collector 0.160 with the file log receiver",
  cost: "built with Go in about two minutes, 40 MB",
  byDefault: true,
  provides: names,
  systemFolders: [],
  // One on PATH may have other components, which its version does not tell.
  onPath: false,
  within: ".",
  inspect: inspectPrograms({ names, accepts: (found) => found === version }),
  source: { kind: "cache", fill },
});

// The way that its makers give for one's own choice of components: their builder writes a program and compiles it.
async function fill(folder: string, context: GetContext): Promise<void> {
  const work = join(folder, "work");
  await mkdir(work);
  await goInstall(work, { module: core, version: `v${version}`, packages: ["cmd/builder"] }, context);
  const configFile = join(work, "builder.yaml");
  // JSON is YAML.
  await writeFile(configFile, JSON.stringify(distribution(join(work, "source"))));
  context.progress(`builder --config: ${Object.values(components).flat().length} components of ${version}`);
  await runCommand(join(work, "builder"), [`--config=${configFile}`], {
    timeoutMs: buildTimeoutMs,
    env: { CGO_ENABLED: "0", GOWORK: "off" },
    cwd: work,
  });
  await rename(join(work, "source", name), join(folder, name));
  await rm(work, { recursive: true });
}

function distribution(outputPath: string): object {
  const modules = Object.entries(components).map(([kind, paths]) => [
    kind,
    paths.map((path) => ({ gomod: `${path} v${version}` })),
  ]);
  const description = "OpenTelemetry Collector for Ectus-R's tests";
  return {
    dist: { name, description, version, output_path: outputPath },
    ...Object.fromEntries(modules),
  };
}
