import { EctusError } from "@ectus/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { openStorage } from "./index.ts";
import { parseS3Url } from "./s3-url.ts";

const parse = (text: string) => parseS3Url(new URL(text));

test("a bucket alone is enough", () => {
  expect(parse("s3://ectus-files")).toEqual({ bucket: "ectus-files", prefix: "", pathStyle: false });
});

test("what is said is taken, and a prefix ends in one slash", () => {
  const query = "region=eu-central-1&endpoint=https%3A%2F%2Fs3.example.com%3A9000&path_style=true";
  const expected = {
    bucket: "b.1-x",
    prefix: "one/two/",
    region: "eu-central-1",
    endpoint: "https://s3.example.com:9000",
    pathStyle: true,
  };
  expect(parse(`s3://b.1-x/one/two?${query}`)).toEqual(expected);
  expect(parse(`s3://b.1-x/one/two/?${decodeURIComponent(query)}`)).toEqual(expected);
});

test.each([
  ["s3://bucket?regoin=x", 'got the parameter "regoin", accepts only region, endpoint, path_style'],
  ["s3://bucket?region=a&region=b", "region twice"],
  ["s3://bucket?region=EU%20Central", "a name like eu-central-1"],
  ["s3://bucket?path_style=yes", "true or false"],
  ["s3://bucket?endpoint=s3.example.com", "a URL like https://s3.example.com:9000"],
  ["s3://bucket?endpoint=ftp://x", "a URL like https://s3.example.com:9000"],
  ["s3://bucket:9000/x", "a port belongs to the endpoint"],
  ["s3://bucket/x#y", "a port or a fragment"],
  ["s3://Bucket", '"Bucket", accepts 3 to 63 lower-case letters'],
  ["s3:///x", 'the bucket ""'],
  ["s3://bucket/a//b", "between single slashes"],
  ["s3://bucket/a%20b", "between single slashes"],
  [`s3://bucket/${"a".repeat(901)}`, "at most 900 characters"],
])("%s is refused, and told why", async (url, reason) => {
  expect(() => parse(url)).toThrow(reason);
  await expect(openStorage(url)).rejects.toMatchObject({
    code: "invalid_config",
    message: expect.stringContaining("STORAGE_URL"),
  });
});

test.each(["s3://someone:hunter2@bucket", "s3://bucket?endpoint=https://someone:hunter2@x"])(
  "credentials in %s are refused and not repeated",
  (url) => {
    expect(() => parse(url)).toThrow("redentials");
    expect(() => parse(url)).not.toThrow("hunter2");
  },
);

test("whatever the URL, it is refused with a code or its prefix leads nowhere else", () => {
  const part = fc.oneof(fc.string(), fc.constantFrom("..", ".", "/", "//", "%2e%2e", "a", "%00", "?region="));
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const url = URL.parse(`s3://bucket/${parts.join("")}`);
      if (url === null) return;
      try {
        const { prefix } = parseS3Url(url);
        expect(prefix).toMatch(/^(?:[^/\s%]+\/)*$/);
        expect(prefix.split("/")).not.toContain("..");
      } catch (error) {
        expect(error).toBeInstanceOf(EctusError);
        expect(error).toMatchObject({ code: "invalid_config" });
      }
    }),
  );
});
