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
    `AKIA${"IOSFODNN7EXAMPLE"}:${filler(40)}`,
    `AKIA${"IOSFODNN7EXAMPLE"} / ${filler(20)}/${filler(19)}`,
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
    "अजय@डाटा.भारत",
    "ada＠example.org",
    "ada!lovelace#1@example.org",
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
    "mt84malt011000012345mtlcast001s",
    "gb29 nwbk 6016 1331 9268 19",
    "DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000",
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
      JSON.stringify({ level: "info", msg: `It was\n"${text}"\t` }),
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
    ["postgres://app@db.example.org:5432/ectus", "postgres://app@db.example.org:5432/ectus"],
    ["mysql://root@db/x, ssh://deploy@h", "mysql://root@db/x, ssh://deploy@h"],
    ["redis://hunter2@h/0 postgres://a.b@h", "redis://[redacted]@h/0 postgres://[redacted]@h"],
    ["https:\\/\\/u:hunter2@h\\/x", "https://[redacted]@h/x"],
    ["http://h:80/a@b and http://[::1]:8080/x@y", "http://h:80/a@b and http://[::1]:8080/x@y"],
  ] as const;
  for (const [text, shown] of cases) expect(redactText(text)).toBe(shown);
});

test("what follows a scheme of authorization is hidden, and prose is not", () => {
  const cases = [
    ["Authorization: Bearer abc", "Authorization: Bearer [redacted]"],
    ["authorization=Basic dXNlcjpwYXNz", "authorization=Basic [redacted]"],
    ['{"authorization":"Basic dXNlcjpwYXNz"}', '{"authorization":"Basic [redacted]"}'],
    ["Authorization: Custom zzz999yyy now", "Authorization: [redacted] now"],
    ["Authorization: missing", "Authorization: missing"],
    [
      "authorization: `Bearer zz9`, {authorization: [ 'Bearer zz9' ]}",
      "authorization: `Bearer [redacted], {authorization: [ 'Bearer [redacted]' ]}",
    ],
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
    [
      "dbPassword=hunter2 accessToken=x9y PGPASSWORD=hunter2",
      "dbPassword=[redacted] accessToken=[redacted] PGPASSWORD=[redacted]",
    ],
    [
      "AccountName=a;AccountKey=abc/def==;EndpointSuffix=b",
      "AccountName=a;AccountKey=[redacted];EndpointSuffix=b",
    ],
    ['{"password":"it\'s hunter2"}', '{"password":"[redacted]"}'],
    ['{"password":"hun\\"ter2","n":1}', '{"password":"[redacted]","n":1}'],
    [`{"password":"${"hunter 2 ".repeat(700)}"}`, '{"password":"[redacted]"}'],
    ["Cookie: sid=0123; theme=dark", "Cookie: [redacted]"],
    ["set-cookie: sid=0123; HttpOnly\nage: 1", "set-cookie: [redacted]\nage: 1"],
    ["a design=flat of tokens=512", "a design=flat of tokens=512"],
    ["password: must be longer", "password: must be longer"],
    ["Unexpected token: < in JSON", "Unexpected token: < in JSON"],
  ] as const;
  for (const [text, shown] of cases) {
    expect(redactText(text)).toBe(shown);
    expect(JSON.parse(redactLine(JSON.stringify({ level: "info", msg: text }))).msg).toBe(shown);
  }
});

test("the secret part of a webhook's address is hidden", () => {
  const secret = `T0AAAAAAA/B0BBBBBBB/${filler(24)}`;
  const cases = [
    [`https://hooks.slack.com/services/${secret}`, "https://hooks.slack.com/services/[redacted]"],
    [
      `POST https://discord.com/api/webhooks/1234567890/${filler(24)} failed`,
      "POST https://discord.com/api/webhooks/[redacted] failed",
    ],
  ] as const;
  for (const [text, shown] of cases) {
    expect(redactText(text)).toBe(shown);
    expect(JSON.parse(redactLine(JSON.stringify({ msg: text }))).msg).toBe(shown);
  }
});

test("an address is found whatever follows it", () => {
  const cases = [
    ["邮箱：ada@example.org的2封邮件", "邮箱：[redacted]"],
    ["session ada@example.org-123 of ada@example.org1", "session [redacted] of [redacted]"],
    ["ada@example.org_backup", "[redacted]_backup"],
    ["ada\\u002Btag@example.org", "[redacted]"],
  ] as const;
  for (const [text, shown] of cases) expect(redactText(text)).toBe(shown);
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
    "01573df8-ad36-bf9f-5e19-b6d826f51b01",
    "tenant ca60b7ab-fdd1-7e82-be14-771e699dbd71",
    "tenant be85a92f-4830-7949-40cd-ebadb8334ba4",
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
    "at f (/app/node_modules/@scope/name@1.2.3-beta.rc1/index.js:1:2)",
    "node_modules/.pnpm/@fastify+otel@0.9.1_@opentelemetry+api@1.9.0/node_modules/@fastify/otel",
    "typescript@7.0.0-dev.next",
    "10.0.0.1, ::1, 192.168.1.100:5432 and deploy@10.0.0.1",
    "latencies 45 12 33 48 51 29 88 77 66 55 44 33 22 11",
    "4 111 11 111 1 1 111 111 1 1",
    "C:\\Users\\new\\table \\u0041",
    '"x":"\\"quoted\\" \\n"',
    'password authentication failed for user "app"',
    "the bearer token expired; x-api-key header missing",
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

type Wrap = (text: string) => string;
const wraps: Readonly<Record<string, Wrap>> = {
  json: (text) => JSON.stringify({ "some text": text, n: 1 }),
  "json name": (text) => JSON.stringify({ [text]: [true] }),
  quoted: (text) => `'${text}'`,
  url: (text) => `/find?q=${encodeURIComponent(text)}&page=2`,
  "signs escaped": (text) =>
    text.replace(/[+=@<>&]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`),
  "slashes escaped": (text) => text.replaceAll("/", "\\/"),
  lines: (text) => `first\r\n${text}\nlast`,
  punctuation: (text) => `(${text}), `,
  "other script": (text) => `请求${text}。`,
  assigned: (text) => `value=${text};`,
  prose: (text) => `It was ${text} that was refused`,
};
// A part of each that no way of writing changes.
const marked: readonly (readonly [secret: string, mark: string])[] = [
  [createApiKey(), ""],
  [`sk-proj-${filler(60)}`, filler(12)],
  [`ghp_${"aB3dE5gH7jK9mN1pQ2sT4vW6yZ8aB3dE5gH7"}`, filler(12)],
  [`AKIA${"IOSFODNN7EXAMPLE"}`, "IOSFODNN7"],
  ["ada.lovelace@example.org", "lovelace"],
  ["Ada.Lovelace+tag@mail.example.co.uk", "Lovelace"],
  ["4111 1111 1111 1111", "1111"],
  ["DE89370400440532013000", "3704004405"],
  [jwt, filler(12)],
  [pem, filler(12)],
  ["postgres://app:hunter2@db:5432/ectus", "hunter2"],
  ["Bearer mF_9.B5f-4.1JqM", "B5f-4"],
  ["password=hunter2", "hunter2"],
  [JSON.stringify({ password: "hunter2", n: 1 }), "hunter2"],
  [`https://hooks.slack.com/services/T0AAAAAAA/B0BBBBBBB/${filler(24)}`, filler(12)],
].map(([secret, mark]) => [secret as string, mark || (secret as string).slice(-12)]);

test("what is sensitive is found however it is wrapped, up to three times", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...marked),
      fc.array(fc.constantFrom(...Object.entries(wraps)), { maxLength: 3 }),
      ([secret, mark], around) => {
        const text = around.reduce((inner, [, wrap]) => wrap(inner), secret);
        expect(redactText(text), text).not.toContain(mark);
        expect(redactLine(JSON.stringify({ level: "info", msg: text })), text).not.toContain(mark);
      },
    ),
    { numRuns: 2_000 },
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
    "9 9-",
    "1111 ",
    "a4111111111111111",
    "DE89370400440532013001 ",
    "\\u0040",
    "\\\\n",
    "cookie: a=",
    "authorization: a ",
    "hooks.slack.com/services/",
    "\u6f22@",
  ];
  const time = (text: string): number => {
    const startedAt = performance.now();
    redactText(text);
    redactLine(JSON.stringify({ level: "info", msg: text }));
    return performance.now() - startedAt;
  };
  for (const piece of pieces) {
    const large = piece.repeat(Math.ceil(1_048_576 / piece.length));
    // What grows with the square takes minutes for this, and a line is a sixteenth of it at most.
    expect(time(large), piece).toBeLessThan(2_000);
  }
});
