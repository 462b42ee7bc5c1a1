import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createApiKey } from "./api-key.ts";
import { isSensitive, redactLine, redactText } from "./redact.ts";

const filler = (length: number): string => "aB3dE5gH7jK9mN1pQ2sT4vW6yZ8".repeat(8).slice(0, length);
// Put together here, so that no scanner of repositories takes them for real ones.
const jwt = [`eyJ${filler(30)}`, `eyJ${filler(60)}`, filler(43)].join(".");
const pem = `-----BEGIN PRIVATE KEY-----\n${filler(64)}\n${filler(64)}\n-----END PRIVATE KEY-----`;

const sensitive: Readonly<Record<string, readonly string[]>> = {
  "keys of ours": [createApiKey(), createApiKey(), createApiKey()],
  "keys of OpenAI and Anthropic": [
    `sk-${filler(48)}`,
    `sk-proj-${filler(60)}`,
    `sk-svcacct-${filler(40)}`,
    `sk-ant-api03-${filler(80)}`,
  ],
  "keys of clouds": [
    `AKIA${"IOSFODNN7EXAMPLE"}`,
    `ASIA${"IOSFODNN7EXAMPLE"}`,
    `AIza${filler(35)}`,
    `ya29.${filler(60)}`,
    `FwoGZXIvYXdzE${filler(60)}`,
  ],
  "keys of other services": [
    `ghp_${"aB3dE5gH7jK9mN1pQ2sT4vW6yZ8aB3dE5gH7"}`,
    `gho_${"aB3dE5gH7jK9mN1pQ2sT4vW6yZ8aB3dE5gH7"}`,
    `github_pat_${filler(22)}_${filler(59)}`,
    `glpat-${filler(20)}`,
    `xoxb-${"123456789012"}-${filler(24)}`,
    `xoxp-${filler(24)}`,
    `xapp-1-${filler(24)}`,
    `sk_live_${filler(24)}`,
    `rk_live_${filler(24)}`,
    `hf_${filler(34)}`,
    `npm_${"aB3dE5gH7jK9mN1pQ2sT4vW6yZ8aB3dE5gH7"}`,
    `pypi-${filler(60)}`,
    `SG.${filler(22)}.${filler(43)}`,
  ],
  "e-mail addresses": [
    "ada@example.org",
    "Ada.Lovelace+tag@mail.example.co.uk",
    "o'brien@example.ie",
    "jörg@müller.example",
    "ada%40example.org",
    "x@xn--mller-kva.xn--p1ai",
    '"Ada Lovelace"@example.org',
  ],
  "card numbers": [
    "4111111111111111",
    "4222222222222",
    "4111 1111 1111 1111",
    "5555-5555-5555-4444",
    "2223003122003222",
    "378282246310005",
    "3782 822463 10005",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "6200000000000005",
    "6759649826438453",
    "2200770239097761",
    "4111\u00a01111\u00a01111\u00a01111",
  ],
  IBANs: [
    "DE89370400440532013000",
    "DE89 3704 0044 0532 0130 00",
    "GB29NWBK60161331926819",
    "gb29nwbk60161331926819",
    "FR14 2004 1010 0505 0001 3M02 606",
    "NO9386011117947",
    "MT84MALT011000012345MTLCAST001S",
  ],
  "tokens of web": [jwt],
  "private keys": [
    pem,
    pem.replace(/PRIVATE/g, "RSA PRIVATE"),
    pem.replace(/PRIVATE KEY/g, "PGP PRIVATE KEY BLOCK"),
    pem.slice(0, 100),
    pem.replaceAll("\n", "\\n"),
  ],
};

describe.each(Object.entries(sensitive))("%s", (_, texts) => {
  test.each(texts)("%s", (text) => {
    expect(redactText(text)).toBe("[redacted]");
    expect(redactText(`It was ${text} then`)).toMatch(/^It was \[redacted\]/);
    expect(redactText(`(${text})`)).toMatch(/^\(\[redacted\]/);
    expect(redactText(`a\n${text}\nb`)).toMatch(/^a\n\[redacted\]/);
    expect(redactText(`name=${text}`)).toMatch(/^name=\[redacted\]/);
    expect(isSensitive(text)).toBe(true);
    for (const line of [
      JSON.stringify({ level: "info", msg: `It was\n"${text}"\u0000` }),
      JSON.stringify({ level: "info", list: [{ [text]: [text] }], msg: "x" }),
    ]) {
      const shown = redactLine(line);
      expect(shown).toContain("[redacted]");
      expect(shown).not.toContain(text.slice(0, 30));
      expect(() => JSON.parse(shown)).not.toThrow();
    }
  });
});

test("a password in a URL is hidden, and nothing else of it", () => {
  const cases = [
    ["postgres://app:hunter2@db.example.org:5432/ectus", "postgres://[redacted]@db.example.org:5432/ectus"],
    ["see https://token@github.com/a/b.", "see https://[redacted]@github.com/a/b."],
    ["redis://:p%40ss@h/0 and amqp://u:p@h", "redis://[redacted]@h/0 and amqp://[redacted]@h"],
    ["postgres://u:p@ss/w:rd@h:5432/d", "postgres://[redacted]@h:5432/d"],
    ["http://h:80/a@b and http://[::1]:8080/x@y", "http://h:80/a@b and http://[::1]:8080/x@y"],
  ] as const;
  for (const [text, shown] of cases) expect(redactText(text)).toBe(shown);
});

test("what follows a scheme of authorization is hidden, and prose is not", () => {
  const cases = [
    ["Authorization: Bearer abc", "Authorization: Bearer [redacted]"],
    ["authorization=Basic dXNlcjpwYXNz", "authorization=Basic [redacted]"],
    ['{"authorization":"Basic dXNlcjpwYXNz"}', '{"authorization":"Basic [redacted]"}'],
    ["got Bearer mF_9.B5f-4.1JqM!", "got Bearer [redacted]!"],
    ["BEARER hunter22", "BEARER [redacted]"],
    ["Basic dXNlcjpwYXNz", "Basic [redacted]"],
    ["Bearer authentication failed", "Bearer authentication failed"],
    ["a bearer token is missing", "a bearer token is missing"],
    ["Basic research, basic needs.", "Basic research, basic needs."],
    ["Bearer\ttabbed-token-1", "Bearer\t[redacted]"],
  ] as const;
  for (const [text, shown] of cases) {
    expect(redactText(text)).toBe(shown);
    expect(JSON.parse(redactLine(JSON.stringify({ level: "info", msg: text }))).msg).toBe(shown);
  }
});

test("what is assigned to a secret's name is hidden", () => {
  const cases = [
    ["host=db password=hunter2 user=app", "host=db password=[redacted] user=app"],
    ["/x?api_key=abc123&page=2", "/x?api_key=[redacted]&page=2"],
    ["AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI", "AWS_SECRET_ACCESS_KEY=[redacted]"],
    ['{"password":"hunter two","n":1}', '{"password":"[redacted]","n":1}'],
    ["password: hunter2", "password: [redacted]"],
    ["password: must be longer", "password: must be longer"],
    ["Unexpected token: < in JSON", "Unexpected token: < in JSON"],
  ] as const;
  for (const [text, shown] of cases) {
    expect(redactText(text)).toBe(shown);
    expect(JSON.parse(redactLine(JSON.stringify({ level: "info", msg: text }))).msg).toBe(shown);
  }
});

test("what is sensitive is found in URLs and forms, too", () => {
  for (const text of Object.values(sensitive).flat()) {
    const encoded = encodeURIComponent(text);
    const form = new URLSearchParams({ q: text }).toString().slice(2);
    for (const written of [encoded, form]) {
      const shown = redactText(`GET /find?q=${written}&page=2 failed`);
      expect(shown).toBe("GET /find?q=[redacted]&page=2 failed");
    }
  }
  expect(redactText("100% of a+b, %41 and %zz %")).toBe("100% of a+b, %41 and %zz %");
});

test("what only looks like it is left alone", () => {
  const harmless = [
    "01a20f3b-5c6d-7e8f-9a0b-1c2d3e4f5a6b",
    "took 0.4111111111111111 ms",
    "12.345678901234567",
    "4111111111111112",
    "1764012762000",
    "1764012762000123",
    "a4111111111111111f0e",
    "DE88370400440532013000",
    "pino@10.4.0",
    "node_modules/@fastify/otel/index.js",
    "sk-learn",
    "task-force-of-many-people-here",
    "2026-11-24T19:32:42.123Z",
    "tenant 2026-11-24 2026-11-25 2026-11-26",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  ];
  for (const text of harmless) expect(redactText(text)).toBe(text);
});

test("two cards beside each other, and a card beside its date, are found", () => {
  expect(redactText("4111111111111111 4242424242424242")).toBe("[redacted] [redacted]");
  expect(redactText("4111 1111 1111 1111 12/27 123")).toBe("[redacted] 12/27 123");
  expect(redactText("17 4111-1111-1111-1111-9")).toBe("17 [redacted]-9");
});

test("a number that is a card becomes a text, and other numbers stay", () => {
  const line =
    '{"level":"info","card":4111111111111111,"list":[4242424242424242,1],"at":1764012762000123,"f":0.4111111111111111,"msg":"x"}\n';
  expect(JSON.parse(redactLine(line))).toEqual({
    level: "info",
    card: "[redacted]",
    list: ["[redacted]", 1],
    at: 1764012762000123,
    f: 0.4111111111111111,
    msg: "x",
  });
});

test("ids of traces stay, though they may look like a card", () => {
  const line =
    '{"level":"info","spanId":"4111111111111111","traceId":"41111111111111114111111111111111","card":"4111111111111111","msg":""}\n';
  expect(JSON.parse(redactLine(line))).toMatchObject({
    spanId: "4111111111111111",
    traceId: "41111111111111114111111111111111",
    card: "[redacted]",
  });
});

test("ids made here are never hidden", () => {
  for (let count = 0; count < 2_000; count += 1) {
    const [id, span] = [randomBytes(16).toString("hex"), randomBytes(8).toString("hex")];
    const uuid = `${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`;
    const line = JSON.stringify({
      level: "info",
      requestId: `req_${id}`,
      traceId: id,
      spanId: span,
      tenantId: uuid,
    });
    expect(redactLine(line)).toBe(line);
  }
});

const anySensitive = fc.constantFrom(...Object.values(sensitive).flat());
const anyText = fc.string({ unit: "binary", maxLength: 40 });

test("a line stays JSON with the same names and numbers, whatever is in it", () => {
  fc.assert(
    fc.property(
      fc.jsonValue(),
      fc.array(fc.oneof(anyText, anySensitive), { maxLength: 4 }),
      (value, texts) => {
        const line = JSON.stringify({ level: "info", value, text: texts.join(" "), [texts.join("|")]: 1 });
        const shown = redactLine(line);
        expect(shown).not.toContain("\n");
        const parsed = JSON.parse(shown);
        expect(parsed.level).toBe("info");
        expect(parsed.text).toBe(redactText(texts.join(" ")));
      },
    ),
  );
});

test("a text that was redacted is redacted no further", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(anyText, anySensitive), { maxLength: 5 }), (texts) => {
      const once = redactText(texts.join(" "));
      expect(redactText(once)).toBe(once);
    }),
  );
});

test("the time that a hostile text takes grows with its length only", () => {
  const pieces = [
    "a",
    "1",
    "1 ",
    "@",
    "a@",
    "a@a.",
    "://",
    "://a:",
    "://a:a",
    "eyJ",
    "_eyJ",
    "sk-",
    "sk_live_",
    "AKIA",
    "SG.",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ",
    "DE89",
    "DE89 ",
    "GB",
    "Bearer ",
    "bearer a",
    "basic ",
    "password=",
    "password:",
    'secret"',
    "token=token",
    "_secret=",
    "authorization: ",
    "%40",
    "a%40",
    "+",
    "a+",
    "%2541",
    '"',
    '"@',
    "\\",
    '\\"',
    "4111-",
    "41 ",
    "x.",
    "a.",
    ".a@a",
    "xoxb-",
    "ghp_",
    "glpat-",
    "-",
    "=",
    "0a",
    "key key",
    "\u2009",
    "1\u2009",
  ];
  const time = (text: string): number => {
    const startedAt = performance.now();
    redactText(text);
    redactLine(JSON.stringify({ level: "info", msg: text }));
    return performance.now() - startedAt;
  };
  for (const piece of pieces) {
    const large = piece.repeat(Math.ceil(1_048_576 / piece.length));
    // What grows with the square takes minutes for this.
    expect(time(large), piece).toBeLessThan(2_000);
  }
});
