// From OpenAI's messages to the tokens that are fed to the model, by the model's own chat template. Only the template
// may make special tokens: what people wrote is always plain text.
import { randomBytes } from "node:crypto";
import { EctusError, errorMessage } from "@ectus/core";
import { Template } from "@huggingface/jinja";
import type { LlamaModel, Token } from "node-llama-cpp";
import type { ChatMessage } from "../../chat.ts";
import { createLengthGuard } from "./length-guard.ts";

/** Turns messages into the tokens of a prompt that ends where the model's answer begins. */
export type ChatPrompt = (messages: readonly ChatMessage[]) => Token[];

/** What of node-llama-cpp the prompt is made with, so that `LlamaText` is not imported before a model is loaded. */
export interface PromptLibrary {
  readonly LlamaText: typeof import("node-llama-cpp").LlamaText;
  readonly SpecialTokensText: typeof import("node-llama-cpp").SpecialTokensText;
}

/** A part of a rendered prompt: of the template, where special tokens count, or of a message, where they do not. */
export interface PromptPart {
  readonly from: "template" | "message";
  readonly text: string;
}

// ChatML, for a model file that brings no template: https://github.com/openai/openai-python/blob/v0.28.1/chatml.md
const chatMlTemplate =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** @param contextTokens tokens that fit; messages that cannot fit, by their length alone, are refused unread */
export function createChatPrompt(
  model: LlamaModel,
  library: PromptLibrary,
  contextTokens: number,
): ChatPrompt {
  const render = createTemplateRenderer(model.fileInfo.metadata.tokenizer?.chat_template ?? chatMlTemplate, {
    bos_token: model.tokens.bosString ?? "",
    eos_token: model.tokens.eosString ?? "",
  });
  const { bos, shouldPrependBosToken } = model.tokens;
  const refuseTooLong = createLengthGuard(model, contextTokens, "messages");
  return (messages) => {
    const rendered = render(messages);
    refuseTooLong(rendered.reduce((sum, { text }) => sum + text.length, 0));
    const parts = rendered.map(({ from, text }) =>
      from === "template" ? new library.SpecialTokensText(text) : text,
    );
    const tokens = library.LlamaText(parts).tokenize(model.tokenizer);
    return shouldPrependBosToken && bos !== null && tokens[0] !== bos ? [bos, ...tokens] : tokens;
  };
}

/**
 * Prepares a Jinja chat template. The messages' texts do not pass through it: marks stand for them, so that nothing in
 * them can look like a part of the template.
 */
export function createTemplateRenderer(
  source: string,
  variables: Readonly<Record<string, string>>,
): (messages: readonly ChatMessage[]) => PromptPart[] {
  const template = new Template(source);
  return (messages) => {
    const secret = randomBytes(12).toString("hex");
    const texts = messages.map(textOf);
    const marked = messages.map(({ role }, index) => ({
      role: role === "developer" ? "system" : role,
      content: texts[index] === "" ? "" : `${secret}.${index}.`,
    }));
    let rendered: string;
    try {
      rendered = template.render({ ...variables, messages: marked, add_generation_prompt: true });
    } catch (error) {
      throw new EctusError(
        "invalid_request",
        {
          param: "messages",
          reason: `The model's chat template refuses these messages: ${errorMessage(error)}`,
        },
        { cause: error },
      );
    }
    const pieces = rendered.split(new RegExp(`${secret}\\.(\\d+)\\.`));
    return pieces
      .map(
        (piece, at): PromptPart =>
          at % 2 === 0
            ? { from: "template", text: piece }
            : { from: "message", text: texts[Number(piece)] ?? "" },
      )
      .filter(({ text }) => text !== "");
  };
}

function textOf(message: ChatMessage, index: number): string {
  const param = `messages[${index}]`;
  const refuse = (reason: string) =>
    new EctusError("invalid_request", { param, reason: `${param}: ${reason}` });
  if (message.role === "tool" || message.role === "function" || Array.isArray(message.tool_calls)) {
    throw refuse("this model does not do tools.");
  }
  const { content } = message;
  if (content === undefined || content === null) return "";
  if (typeof content === "string") return content;
  return content
    .map((part) => {
      if (part.type !== "text" || typeof part.text !== "string") {
        throw refuse(`this model reads text only, not parts of type '${part.type}'.`);
      }
      return part.text;
    })
    .join("");
}
