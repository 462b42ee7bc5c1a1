// The real model for this folder's tests, from the folder where `npm run peers model` puts it.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EctusError } from "@ectus/core";
import { defaultModelId } from "../../model-catalog.ts";
import { listModels } from "../../model-store.ts";

/**
 * Path of the default model; undefined, with a loud line, where it is missing.
 *
 * @throws EctusError `peer_missing` with CI=true, where a test without its model must not pass
 */
export async function modelForTests(
  cacheDirs?: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
  say: (text: string) => unknown = (text) => process.stderr.write(text),
): Promise<string | undefined> {
  const models = await listModels(join(tmpdir(), "ectus-no-models"), cacheDirs);
  const path = models.find(({ id }) => id === defaultModelId)?.path;
  if (path !== undefined) return path;
  const reason = `The tests of the built-in model need ${defaultModelId}: run 'npm run peers model'.`;
  if (environment.CI === "true") throw new EctusError("peer_missing", { reason });
  say(`\nSKIPPED: ${reason}\n`);
  return undefined;
}
