// PostgreSQL is gone under a running instance.
import type { AlertDrill } from "../drill.ts";

export const databaseConnectionErrors: AlertDrill = {
  kind: "alert",
  name: "database-connection-errors",
  alert: "DatabaseConnectionErrors",
  severity: "page",
  shows: "a database that is gone is told as that",
  fault: "PostgreSQL is stopped",
  mitigation: "PostgreSQL is started again",
  programs: [],
  inhibits: ["HighErrorRate"],
  customersSee: "failures",
  async inject({ postgres }) {
    await postgres.stop();
    return () => postgres.start();
  },
};
