// The project's rules as a drill runs them: the same files, with their times divided.
import { basename } from "node:path";
import { readRuleFile, type ShorteningFactors, shortenRules } from "@ectus/alerting";
import { type Drill, defaultFactors } from "./drill.ts";
import { ruleFilePaths } from "./project-files.ts";

/** What the times of a drill are divided by. */
export const factorsOf = ({ factors }: Drill): ShorteningFactors => ({ ...defaultFactors, ...factors });

/** Texts of the rule files by their names. */
export async function shortenedRules(factors: ShorteningFactors): Promise<Readonly<Record<string, string>>> {
  const texts = ruleFilePaths.map(
    async (file) => [basename(file), shortenRules(await readRuleFile(file), factors)] as const,
  );
  return Object.fromEntries(await Promise.all(texts));
}
