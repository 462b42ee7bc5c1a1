// The official client and the built-in model: nothing in between is a double.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtInModel, defaultProviders, listModels } from "@ectus/ai-engine";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startApi, type TestApi, type TestTenant } from "./start-api.ts";

const model = builtInModel;
const models = await listModels(join(tmpdir(), "ectus-no-models"));
const modelPath = models.find(({ id }) => id === model)?.path;
if (modelPath === undefined) {
  const reason = `The tests of the built-in model need ${model}: run 'npm run peers model'.`;
  if (process.env.CI === "true") throw new Error(reason);
  process.stderr.write(`\nSKIPPED: ${reason}\n`);
}

describe.skipIf(modelPath === undefined)("the built-in model", () => {
  let api: TestApi;
  let tenant: TestTenant;

  beforeAll(async () => {
    api = await startApi({ providers: defaultProviders({ modelPath: modelPath as string }) });
    tenant = await api.makeTenant({ monthly_token_budget: 1_000_000 });
  });
  afterAll(() => api?.close());

  const messages = [{ role: "user" as const, content: "Say hello." }];
  const settings = { model, messages, temperature: 0, seed: 1, max_tokens: 16 };
  const lastRow = async () =>
    (
      await api.sql<{ input_tokens: number; output_tokens: number; charged_tokens: string; outcome: string }>(
        "select * from usage where tenant_id = $1 order by id desc limit 1",
        [tenant.id],
      )
    )[0];

  test("answers, and its usage row has exactly the tokens that the answer says", async () => {
    const { choices, usage } = await tenant.client.chat.completions.create(settings);
    expect(choices[0]?.message.content?.length).toBeGreaterThan(0);
    expect(usage?.prompt_tokens).toBeGreaterThan(5);
    expect(usage?.completion_tokens).toBeGreaterThan(0);
    expect(usage?.completion_tokens).toBeLessThanOrEqual(16);
    expect(await lastRow()).toMatchObject({
      outcome: "completed",
      input_tokens: usage?.prompt_tokens,
      output_tokens: usage?.completion_tokens,
      charged_tokens: String(usage?.total_tokens),
    });
  });

  test("streams the same answer", async () => {
    const whole = await tenant.client.chat.completions.create(settings);
    const chunks = await Array.fromAsync(
      await tenant.client.chat.completions.create({
        ...settings,
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    expect(text).toBe(whole.choices[0]?.message.content);
    const usage = chunks.at(-1)?.usage;
    expect(usage?.completion_tokens).toBe(whole.usage?.completion_tokens);
    expect(await lastRow()).toMatchObject({
      input_tokens: usage?.prompt_tokens,
      output_tokens: usage?.completion_tokens,
    });
  });

  test("answers in the form that a JSON schema gives", async () => {
    const answer = await tenant.client.chat.completions.create({
      ...settings,
      max_tokens: 60,
      messages: [{ role: "user", content: "Describe a cat as JSON." }],
      response_format: {
        type: "json_schema",
        json_schema: {
          name: "animal",
          strict: true,
          schema: {
            type: "object",
            properties: { kind: { enum: ["cat", "dog"] }, legs: { type: "integer" } },
            required: ["kind", "legs"],
            additionalProperties: false,
          },
        },
      },
    });
    const animal = JSON.parse(answer.choices[0]?.message.content ?? "");
    expect(["cat", "dog"]).toContain(animal.kind);
    expect(Number.isInteger(animal.legs)).toBe(true);
  });

  test("makes embeddings, the same as base64 and as numbers", async () => {
    const input = ["A cat sat.", "A cat sat."];
    const encoded = await tenant.client.embeddings.create({ model, input });
    const plain = await tenant.client.embeddings.create({ model, input, encoding_format: "float" });
    expect(encoded.data).toHaveLength(2);
    const [first, second] = plain.data.map(({ embedding }) => embedding);
    expect(first?.length).toBeGreaterThan(100);
    expect(first).toEqual(second);
    const decoded = [...(encoded.data[0]?.embedding ?? [])];
    for (const [index, value] of decoded.entries())
      expect(value).toBeCloseTo(first?.[index] ?? Number.NaN, 5);
    expect(await lastRow()).toMatchObject({
      input_tokens: plain.usage.prompt_tokens,
      output_tokens: 0,
      charged_tokens: String(plain.usage.total_tokens),
    });
  });

  test("ends its work when the client leaves, counts what it did, and is free for the next one", async () => {
    const whole = await tenant.client.chat.completions.create(settings);
    const stream = await tenant.client.chat.completions.create({
      ...settings,
      max_tokens: 1_000,
      stream: true,
    });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    await expect.poll(async () => (await lastRow())?.outcome, { timeout: 5_000 }).toBe("client_closed");
    // It is charged what the model did until then, exactly, and not what was reserved.
    const row = await lastRow();
    expect(row?.input_tokens).toBe(whole.usage?.prompt_tokens);
    expect(row?.output_tokens).toBeGreaterThan(0);
    expect(row?.output_tokens).toBeLessThan(1_000);
    expect(Number(row?.charged_tokens)).toBe(Number(row?.input_tokens) + Number(row?.output_tokens));
    expect((await tenant.client.chat.completions.create(settings)).choices).toHaveLength(1);
  });

  test("says what it cannot do", async () => {
    const error = await tenant.client.chat.completions
      .create({ ...settings, messages: [{ role: "user", content: "word ".repeat(5_000) }] })
      .catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error.code).toBe("context_length_exceeded");
  });
});
