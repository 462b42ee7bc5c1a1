export { createOpenAiProvider } from "./openai-provider.ts";
