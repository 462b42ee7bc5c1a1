// GET /v1/models: what can be asked for.
import type { Engine, ModelInfo } from "@ectus/ai-engine";
import Type from "typebox";
import type { App } from "../app.ts";
import { errorAnswers, Page, toPage } from "../schemas.ts";
import { findModel } from "./chat-completions.ts";

const Model = Type.Object({
  id: Type.String(),
  object: Type.Literal("model"),
  created: Type.Integer({ description: "Seconds since 1970" }),
  owned_by: Type.String(),
});

export function addModels(app: App, engine: Engine): void {
  app.get(
    "/v1/models",
    {
      config: { scope: "inference" },
      schema: {
        tags: ["Models"],
        summary: "Lists the models",
        response: { "2xx": Page(Model), ...errorAnswers },
      },
    },
    () => toPage(engine.models().map(toModel), engine.models().length),
  );
  app.get(
    "/v1/models/:id",
    {
      config: { scope: "inference" },
      schema: {
        tags: ["Models"],
        summary: "Describes a model",
        params: Type.Object({ id: Type.String() }),
        response: { "2xx": Model, ...errorAnswers },
      },
    },
    (request) => toModel(findModel(engine, request.params.id)),
  );
}

const toModel = ({ id, created, ownedBy }: ModelInfo) => ({
  id,
  object: "model" as const,
  created,
  owned_by: ownedBy,
});
