import { expect, test } from "vitest";
import { checkPackageLock, complete, completePackageLock } from "./package-lock.ts";
import { createSmallProject } from "./small-project.ts";

const lock = {
  packages: {
    "": {},
    "node_modules/outer": {
      optionalDependencies: { "@outer/cli-linux-x64": "1.2.3", "@outer/cli-darwin-arm64": "1.2.3" },
    },
    "node_modules/@outer/cli-linux-x64": { version: "1.2.3" },
    "node_modules/outer/node_modules/inner": {
      dev: true,
      optionalDependencies: {
        "inner-linux-arm-musleabihf": "^2.0.1",
        "inner-win32-x64-msvc": "2.0.1",
        "inner-mac-x64": "2",
      },
    },
    "node_modules/outer/node_modules/inner-win32-x64-msvc": { version: "2.0.1" },
    "node_modules/zebra": {},
  },
};

test("optional packages of other platforms are added with version and platform, in npm's order", () => {
  const { completed, added } = complete(lock);
  expect(added).toEqual(["@outer/cli-darwin-arm64", "inner-linux-arm-musleabihf"]);
  expect(completed.packages["node_modules/@outer/cli-darwin-arm64"]).toEqual({
    version: "1.2.3",
    optional: true,
    os: ["darwin"],
    cpu: ["arm64"],
  });
  expect(completed.packages["node_modules/inner-linux-arm-musleabihf"]).toEqual({
    version: "2.0.1",
    dev: true,
    optional: true,
    os: ["linux"],
    cpu: ["arm"],
    libc: ["musl"],
  });
  expect(Object.keys(completed.packages)).toEqual([
    "",
    "node_modules/@outer/cli-darwin-arm64",
    "node_modules/@outer/cli-linux-x64",
    "node_modules/inner-linux-arm-musleabihf",
    "node_modules/outer",
    "node_modules/outer/node_modules/inner",
    "node_modules/outer/node_modules/inner-win32-x64-msvc",
    "node_modules/zebra",
  ]);
});

test("the check names what is absent, also what cannot be added, until the file is complete", async () => {
  await using project = await createSmallProject();
  await project.write("package-lock.json", JSON.stringify(lock));
  expect(await checkPackageLock(project.root)).toHaveLength(3);
  expect(await completePackageLock(project.root)).toHaveLength(2);
  expect(await checkPackageLock(project.root)).toEqual([expect.stringContaining("inner-mac-x64 2;")]);
  expect(await completePackageLock(project.root)).toEqual([]);
});
