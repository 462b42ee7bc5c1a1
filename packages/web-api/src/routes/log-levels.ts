// The operator's endpoint for the levels of this instance's log: what holds, a change for a while, and back.
import { acceptedLogLevels, EctusError, formatLogLevels, type Logging, parseLogLevels } from "@ectus/core";
import { type Actor, appendAudit, type Database, platformTenantId } from "@ectus/database";
import Type from "typebox";
import type { App } from "../app.ts";
import { actorOf } from "../caller.ts";
import { errorAnswers } from "../schemas.ts";

export interface LogLevelsOptions {
  readonly database: Database;
  readonly logging: Logging;
}

const Levels = Type.Object({
  object: Type.Literal("log_levels"),
  levels: Type.String({ description: "In force, as LOG_LEVEL has them: info,database=debug" }),
  configured: Type.String({ description: "Those that hold when none are set here" }),
  until: Type.Union([Type.String({ format: "date-time" }), Type.Null()], {
    description: "When the levels in force end; null if they were not set for a while",
  }),
});
const Change = Type.Object(
  {
    levels: Type.String({ minLength: 1, maxLength: 1_000 }),
    seconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 86_400,
        description: "How long they hold; until changed if left out",
      }),
    ),
  },
  { additionalProperties: false },
);
const answers = { "2xx": Levels, ...errorAnswers };
const config = { scope: "operator" } as const;

export function addLogLevels(app: App, { database, logging }: LogLevelsOptions): void {
  const tags = ["Operator"];
  const current = () => ({
    object: "log_levels" as const,
    levels: formatLogLevels(logging.levels),
    configured: formatLogLevels(logging.configuredLevels),
    until: logging.levelsUntil?.toISOString() ?? null,
  });

  app.get(
    "/admin/log-levels",
    { config, schema: { tags, summary: "Shows the levels of this instance's log", response: answers } },
    async () => current(),
  );

  app.put(
    "/admin/log-levels",
    {
      config,
      schema: {
        tags,
        summary: "Changes the levels of this instance's log, for a while or until the next change",
        body: Change,
        response: answers,
      },
    },
    async (request) => {
      const levels = parseLogLevels(request.body.levels);
      if (levels === undefined) {
        throw new EctusError("invalid_request", {
          param: "levels",
          reason: `The field 'levels' is not valid: it accepts ${acceptedLogLevels}.`,
        });
      }
      const { seconds } = request.body;
      await audit(database, "log_levels.changed", actorOf(request), {
        levels: formatLogLevels(levels),
        seconds: seconds ?? null,
      });
      logging.setLevels(levels, seconds === undefined ? undefined : seconds * 1_000);
      return current();
    },
  );

  app.delete(
    "/admin/log-levels",
    {
      config,
      schema: { tags, summary: "Returns to the levels that are configured", response: answers },
    },
    async (request) => {
      await audit(database, "log_levels.reset", actorOf(request), {});
      logging.setLevels(undefined);
      return current();
    },
  );
}

async function audit(
  database: Database,
  action: string,
  actor: Actor,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  await database.inTenant(platformTenantId, (tx) =>
    appendAudit(tx, {
      ...actor,
      tenantId: platformTenantId,
      action,
      target: { type: "log_levels" },
      details,
    }),
  );
}
