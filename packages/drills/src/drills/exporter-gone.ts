// The port of the metrics belongs to another program: the API goes on, and nobody sees how it does.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AlertDrill } from "../drill.ts";

export const exporterGone: AlertDrill = {
  kind: "alert",
  name: "exporter-gone",
  alert: "ServiceDown",
  severity: "page",
  shows: "metrics that are gone are told while the API goes on serving",
  fault: "another program has taken the port of the metrics when the instance is started again",
  mitigation: "the other program is stopped",
  programs: [],
  inhibits: ["InstanceDown"],
  customersSee: "nothing",
  async inject({ instance, defer }) {
    await instance.stop();
    const other = createServer((_, response) => response.writeHead(404).end());
    other.listen(instance.metricsPort, "127.0.0.1");
    await once(other, "listening");
    const close = async (): Promise<void> => {
      if (!other.listening) return;
      const closed = once(other, "close");
      other.close();
      other.closeAllConnections();
      await closed;
    };
    defer(close);
    await instance.start();
    return close;
  },
};
