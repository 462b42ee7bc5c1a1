import { expect, test } from "vitest";
import { challenges, mayPass, parseTokens, parseUsers } from "./exporter-credentials.ts";

const basic = (credentials: string) => `Basic ${Buffer.from(credentials).toString("base64")}`;
const tokens = () => parseTokens("# rotated in November\nnew-token\r\n\n  old-token  \n");
const users = () => parseUsers("\ufeffprometheus:s3cret:with:colons\r\nzoë:päss word\n# nobody:else\n");

test("without credentials everybody may pass", () => {
  expect(challenges({})).toEqual([]);
  expect(mayPass({}, undefined)).toBe(true);
  expect(mayPass({}, "Bearer any")).toBe(true);
});

test("each token of the file is enough, whatever is around it", () => {
  expect(challenges({ tokens })).toEqual(['Bearer realm="metrics"']);
  for (const good of ["Bearer new-token", "bearer old-token", "BEARER  new-token "])
    expect(mayPass({ tokens }, good)).toBe(true);
  for (const bad of [undefined, "", "Bearer", "Bearer ", "Bearer new", "Bearer new-token2", "new-token"])
    expect(mayPass({ tokens }, bad)).toBe(false);
  expect(mayPass({ tokens }, "Bearer #")).toBe(false);
  expect(mayPass({ tokens }, basic("new-token:"))).toBe(false);
});

test("each user with the password is enough", () => {
  expect(challenges({ users })).toEqual(['Basic realm="metrics", charset="UTF-8"']);
  expect(mayPass({ users }, basic("prometheus:s3cret:with:colons"))).toBe(true);
  expect(mayPass({ users }, basic("zoë:päss word"))).toBe(true);
  for (const bad of ["prometheus:", "prometheus", "prometheus:s3cret", ":", "nobody:else", "# nobody:else"])
    expect(mayPass({ users }, basic(bad))).toBe(false);
  expect(mayPass({ users }, "Bearer prometheus:s3cret:with:colons")).toBe(false);
});

test("where both are configured either is enough", () => {
  expect(challenges({ tokens, users })).toHaveLength(2);
  expect(mayPass({ tokens, users }, "Bearer old-token")).toBe(true);
  expect(mayPass({ tokens, users }, basic("zoë:päss word"))).toBe(true);
  expect(mayPass({ tokens, users }, "Bearer zoë:päss word")).toBe(false);
});

test("what is no token or user is told by its line, without what stands there", () => {
  expect(() => parseTokens("ok\ntwo words")).toThrow(/^line 2 is not a token of ASCII characters/);
  expect(() => parseTokens(" \n# only a comment\n")).toThrow("it holds no line that counts");
  for (const wrong of ["hunter2", ":hunter2", "hunter2:"]) {
    expect(() => parseUsers(`a:b\n\n${wrong}`)).toThrow(
      /^line 3 is not user:password, neither of them empty$/,
    );
  }
});

test.each([
  "ada:$2y$05$abcdefghijklmnopqrstuv",
  "ada:$2b$10$abc",
  "ada:$apr1$x$y",
  "ada:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
  "ada:$6$salt$hash",
])("a line of htpasswd would never fit, so it is refused: %s", (line) => {
  expect(() => parseUsers(line)).toThrow("not a hash as of htpasswd");
});
