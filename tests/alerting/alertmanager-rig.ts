// A real Alertmanager with the project's own configuration, made faster, and the receiver that it sends to.
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shortenAlertmanagerConfig } from "@ectus/alerting";
import { type Alertmanager, type Receiver, startAlertmanager, startReceiver } from "@ectus/drills";

export const configFolder = new URL("../../k8s/prometheus/alertmanager/", import.meta.url).pathname;
export const configFile = join(configFolder, "config.yaml");
export const pagerDutyConfigFile = join(configFolder, "pagerduty/config.yaml");
export const templatesFolder = join(configFolder, "templates");

export type Labels = Readonly<Record<string, string>>;

export interface AlertmanagerRig extends AsyncDisposable {
  readonly folder: string;
  readonly receiver: Receiver;
  readonly alertmanager: Alertmanager;
  /** Starts it again, on the same port and with what it remembers. */
  restart(): Promise<Alertmanager>;
}

/**
 * @param path of the program
 * @param factor that its waits and intervals are divided by
 * @param adapt changes the configuration besides
 */
export async function startAlertmanagerRig(
  path: string,
  factor: number,
  adapt: (config: string) => string = (config) => config,
): Promise<AlertmanagerRig> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "ectus-alertmanager-"));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const receiver = await startReceiver();
  started.defer(() => receiver.close());
  const config = adapt(
    shortenAlertmanagerConfig(await readFile(pagerDutyConfigFile, "utf8"), {
      factor,
      folder,
      pagerDutyUrl: receiver.pagerDutyUrl,
    }),
  );
  const names = await readdir(templatesFolder);
  const templates = Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(templatesFolder, name), "utf8")])),
  );
  const start = (port?: number): Promise<Alertmanager> =>
    startAlertmanager({
      path,
      folder,
      config,
      templates,
      secrets: receiver.secrets,
      ...(port === undefined ? {} : { port }),
    });
  let alertmanager = await start();
  started.defer(() => alertmanager.stop());
  const all = started.move();
  return {
    folder,
    receiver,
    get alertmanager() {
      return alertmanager;
    },
    async restart() {
      alertmanager = await start(alertmanager.port);
      return alertmanager;
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
