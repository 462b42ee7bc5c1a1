// What spans call providers: by the names that operators gave them, and by those of OpenTelemetry's conventions.
import {
  GEN_AI_PROVIDER_NAME_VALUE_ANTHROPIC,
  GEN_AI_PROVIDER_NAME_VALUE_AZURE_AI_OPENAI,
  GEN_AI_PROVIDER_NAME_VALUE_COHERE,
  GEN_AI_PROVIDER_NAME_VALUE_DEEPSEEK,
  GEN_AI_PROVIDER_NAME_VALUE_GCP_GEMINI,
  GEN_AI_PROVIDER_NAME_VALUE_GROQ,
  GEN_AI_PROVIDER_NAME_VALUE_MISTRAL_AI,
  GEN_AI_PROVIDER_NAME_VALUE_OPENAI,
  GEN_AI_PROVIDER_NAME_VALUE_PERPLEXITY,
  GEN_AI_PROVIDER_NAME_VALUE_X_AI,
} from "@opentelemetry/semantic-conventions/incubating";
import type { ProviderConfig } from "./providers-config.ts";

/** The attribute with a provider's configured name: of the one that answered or was asked last, as in metrics. */
export const providerAttribute = "ectus.provider";

/** Hosts of vendors that speak OpenAI's API. */
const vendors: ReadonlyMap<string, string> = new Map([
  ["api.openai.com", GEN_AI_PROVIDER_NAME_VALUE_OPENAI],
  ["api.anthropic.com", GEN_AI_PROVIDER_NAME_VALUE_ANTHROPIC],
  ["api.cohere.ai", GEN_AI_PROVIDER_NAME_VALUE_COHERE],
  ["api.deepseek.com", GEN_AI_PROVIDER_NAME_VALUE_DEEPSEEK],
  ["api.groq.com", GEN_AI_PROVIDER_NAME_VALUE_GROQ],
  ["api.mistral.ai", GEN_AI_PROVIDER_NAME_VALUE_MISTRAL_AI],
  ["api.perplexity.ai", GEN_AI_PROVIDER_NAME_VALUE_PERPLEXITY],
  ["api.x.ai", GEN_AI_PROVIDER_NAME_VALUE_X_AI],
  ["generativelanguage.googleapis.com", GEN_AI_PROVIDER_NAME_VALUE_GCP_GEMINI],
]);

/** The attribute `gen_ai.provider.name`: a well-known value for a vendor's own host, else the configured name. */
export function conventionalProviderName(name: string, settings: ProviderConfig): string {
  if (settings.type !== "openai") return name;
  const hostname = URL.parse(settings.baseUrl)?.hostname ?? "";
  if (hostname.endsWith(".openai.azure.com")) return GEN_AI_PROVIDER_NAME_VALUE_AZURE_AI_OPENAI;
  // OpenAI has hosts by region, as in eu.api.openai.com.
  if (hostname.endsWith(".api.openai.com")) return GEN_AI_PROVIDER_NAME_VALUE_OPENAI;
  return vendors.get(hostname) ?? name;
}
