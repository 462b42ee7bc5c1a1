import { EctusError } from "@ectus/core";
import { expect, test } from "vitest";
import { createDownloadPlaces } from "./download-places.ts";

test("each tenant has 32 places, and one that is given back is taken again", () => {
  const places = createDownloadPlaces();
  const leave = Array.from({ length: 32 }, () => places.take("one"));
  expect(() => places.take("one")).toThrow(EctusError);
  places.take("other");
  leave[0]?.();
  places.take("one");
  expect(() => places.take("one")).toThrow("the 32 downloads that a tenant may have at a time");
  for (const give of leave.slice(1)) give();
  for (let place = 0; place < 31; place += 1) places.take("one");
  expect(() => places.take("one")).toThrow(EctusError);
});
