// Chat templates without a model: which parts of a prompt are the template's and which are people's.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ChatMessage } from "../../chat.ts";
import { createTemplateRenderer } from "./chat-prompt.ts";

const template =
  "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}" +
  "{% if add_generation_prompt %}[assistant]{% endif %}";
const render = createTemplateRenderer(template, {});

const textOf = (messages: readonly ChatMessage[]) =>
  render(messages)
    .map(({ text }) => text)
    .join("");

describe("createTemplateRenderer", () => {
  test("the template's text and the messages' texts are apart", () => {
    expect(render([{ role: "user", content: "Hi" }])).toEqual([
      { from: "template", text: "[user] " },
      { from: "message", text: "Hi" },
      { from: "template", text: "\n[assistant]" },
    ]);
  });

  test("developer messages are system messages, and missing content is empty", () => {
    expect(textOf([{ role: "developer", content: "Be brief" }, { role: "assistant" }])).toBe(
      "[system] Be brief\n[assistant] \n[assistant]",
    );
  });

  test("text parts are joined", () => {
    const content = [
      { type: "text", text: "a" },
      { type: "text", text: "b" },
    ];
    expect(textOf([{ role: "user", content }])).toContain("[user] ab");
  });

  test("variables of the model reach the template", () => {
    expect(createTemplateRenderer("{{ bos_token }}x", { bos_token: "<s>" })([])).toEqual([
      { from: "template", text: "<s>x" },
    ]);
  });

  test("what a message says is a part of its own, whatever it says", () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { maxLength: 5 }), (texts) => {
        const parts = render(texts.map((content) => ({ role: "user" as const, content })));
        const messages = parts.filter(({ from }) => from === "message").map(({ text }) => text);
        expect(messages).toEqual(texts.filter((text) => text !== ""));
      }),
    );
  });

  test.each([
    [
      "an image",
      { role: "user", content: [{ type: "image_url" }] },
      "messages[0]: this model reads text only",
    ],
    ["a text part without text", { role: "user", content: [{ type: "text" }] }, "reads text only"],
    ["a tool's answer", { role: "tool", content: "x" }, "messages[0]: this model does not do tools."],
    ["a tool call", { role: "assistant", tool_calls: [] }, "does not do tools"],
  ] satisfies [string, ChatMessage, string][])("%s is refused by its place", (_name, message, reason) => {
    expect(() => render([message])).toThrow(reason);
  });

  test("what the template refuses is the request's fault, in the template's words", () => {
    const strict = createTemplateRenderer("{{ raise_exception('Roles must alternate') }}", {});
    expect(() => strict([{ role: "user", content: "x" }])).toThrow(
      expect.objectContaining({
        code: "invalid_request",
        message: expect.stringContaining("Roles must alternate"),
      }),
    );
  });
});
