import { expect, test } from "vitest";
import { createShown } from "../testing/shown.ts";
import { showVersion } from "./version.ts";

test("the version of Node.js is shown whole and in parts", async () => {
  const shown = createShown();
  const end = showVersion(shown.instruments);
  const { node } = process.versions;
  const [major, minor, patch] = node.split(".");
  expect(Object.fromEntries(await shown.scrape())).toEqual({
    [`nodejs_version_info{version="v${node}",major="${major}",minor="${minor}",patch="${patch}"}`]: 1,
  });
  end();
  expect([...(await shown.scrape()).keys()]).toEqual([]);
});
