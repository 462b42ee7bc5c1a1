// A small project in a temporary folder, with the checkout's own settings, that tests plant mistakes in.
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { writeErrorsDoc } from "./docs.ts";

const checkout = join(import.meta.dirname, "..", "..", "..");

export interface SmallProject {
  readonly root: string;
  /** Writes a file, and the folders that it needs. */
  readonly write: (path: string, content: string) => Promise<void>;
  readonly [Symbol.asyncDispose]: () => Promise<void>;
}

/** Two packages, core and database, that pass every check. */
export async function createSmallProject(): Promise<SmallProject> {
  const root = await mkdtemp(join(tmpdir(), "ectus-check-"));
  const write = async (path: string, content: string) => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  };
  for (const file of ["biome.json", "knip.json", "tsconfig.json", ".gitignore"]) {
    await copyFile(join(checkout, file), join(root, file));
  }
  await mkdir(join(root, "node_modules", "@ectus"), { recursive: true });
  await symlink(join(checkout, "node_modules", "@types"), join(root, "node_modules", "@types"));
  await write(
    "package.json",
    json({ name: "small", private: true, type: "module", workspaces: ["packages/*"], license: "Apache-2.0" }),
  );
  await write("package-lock.json", json({ lockfileVersion: 3, packages: {} }));
  for (const [name, dependencies] of [
    ["core", {}],
    ["database", { "@ectus/core": "0.1.0" }],
  ] as const) {
    await write(
      `packages/${name}/package.json`,
      json({
        name: `@ectus/${name}`,
        version: "0.1.0",
        private: true,
        type: "module",
        exports: { ".": "./src/index.ts" },
        dependencies,
      }),
    );
    await symlink(join(root, "packages", name), join(root, "node_modules", "@ectus", name));
  }
  await write("packages/core/src/index.ts", 'export { answer } from "./answer.ts";\n');
  await write("packages/core/src/answer.ts", "export const answer = 42;\n");
  await write(
    "packages/database/src/index.ts",
    'import { answer } from "@ectus/core";\n\nprocess.stdout.write(String(answer));\n',
  );
  await mkdir(join(root, "docs"));
  await writeErrorsDoc(root);
  return { root, write, [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }) };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
