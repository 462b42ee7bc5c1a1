// Sends a corpus of secrets and personal data through every route of a running instance, wherever a request has room
// for a text: headers, path, query, fields of a body and their names, forms, and what is no HTTP at all.
import { randomBytes } from "node:crypto";
import { Agent, request as httpRequest, type OutgoingHttpHeaders } from "node:http";
import { rawConnection } from "../api/raw-http.ts";
import type { Sensitive } from "./sensitive-corpus.ts";

export interface Target {
  readonly url: string;
  readonly corpus: readonly Sensitive[];
  /** Keys of a tenant, and one of an operator. */
  readonly keys: { readonly inference: string; readonly admin: string; readonly operator: string };
  readonly chatModel: string;
  readonly embeddingModel: string;
  /** Ids that there are, by the prefix of the path that they are of, or the whole route. */
  readonly ids: Readonly<Record<string, string>>;
}

/** Where the text stands. */
export type Place = "credentials" | "path" | "query" | "body" | "wrong" | "names" | "no-json" | "type";

export interface Pushed {
  /** As in `GET /v1/files/:id`. */
  readonly route: string;
  readonly place: Place;
  readonly status: number;
  readonly requestId: string;
  readonly text: string;
}

export interface Answer {
  readonly status: number;
  readonly requestId: string;
  readonly text: string;
}

export interface Route {
  readonly method: string;
  /** As in `/v1/files/:id`. */
  readonly path: string;
  readonly queryNames: readonly string[];
  readonly fieldNames: readonly string[];
}

interface SentRequest {
  readonly method: string;
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}
interface Operation {
  readonly parameters?: readonly { readonly in: string; readonly name: string }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema?: Schema }>> };
}
interface Schema {
  readonly properties?: Readonly<Record<string, unknown>>;
}

/** What comes first is not in a row of its own, so that faults meet each other's connections. */
const workers = 8;
const agent = new Agent({ keepAlive: true, maxSockets: workers, keepAliveMsecs: 5_000 });

/** The routes that the instance documents, those of the operator among them. */
export async function documentedRoutes(url: string): Promise<Route[]> {
  const { paths } = (await (await fetch(`${url}/docs/json`)).json()) as OpenApi;
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { parameters = [], requestBody }]) => ({
      method: method.toUpperCase(),
      // The document has a name for what the router has an asterisk for.
      path: path.replace(/\{path\}$/, "*").replace(/\{(\w+)\}/g, ":$1"),
      queryNames: parameters.flatMap((parameter) => (parameter.in === "query" ? [parameter.name] : [])),
      fieldNames: Object.values(requestBody?.content ?? {}).flatMap(({ schema }) =>
        Object.keys(schema?.properties ?? {}),
      ),
    })),
  );
}

/** Sends one request; a text in a header goes as the bytes of its UTF-8. */
export function send(url: string, { method, path, headers = {}, body }: SentRequest): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const { hostname, port } = new URL(url);
  const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
  const request = httpRequest({ hostname, port, path, method, agent, headers: { ...headers, ...length } });
  request.on("error", reject).on("response", (response) => {
    const parts: Buffer[] = [];
    response
      .on("data", (part: Buffer) => parts.push(part))
      .on("error", reject)
      .on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          requestId: String(response.headers["x-request-id"] ?? ""),
          text: Buffer.concat(parts).toString(),
        }),
      );
  });
  request.end(body);
  return promise;
}

const inHeader = (text: string): string => Buffer.from(text.replaceAll("\n", " ")).toString("latin1");

/** Headers that programs look at, each with another text of the corpus. */
function headersWith(texts: readonly string[], at: number): OutgoingHttpHeaders {
  const text = (offset: number): string => inHeader(texts[(at + offset) % texts.length] as string);
  // Half of the callers are in traces of their own.
  const ids = `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-0${at % 4 === 0 ? 1 : 0}`;
  return {
    "x-correlation-id": text(0),
    "x-request-id": text(1),
    traceparent: at % 2 === 0 ? ids : text(2),
    tracestate: `vendor=${text(3)}`,
    baggage: `user=${encodeURIComponent(texts[(at + 4) % texts.length] as string)},raw=${text(4)}`,
    "user-agent": text(5),
    referer: `https://example.com/${text(6)}`,
    cookie: `session=${text(7)}`,
    accept: text(8),
    "x-forwarded-for": text(9),
    "accept-language": text(10),
    "x-api-key": text(11),
    "idempotency-key": text(12),
    forwarded: `for="${text(13)}"`,
    "if-none-match": text(14),
    range: text(15),
  };
}

type Body = Record<string, unknown>;

/** The bodies that routes accept, with a text wherever one may stand. */
const bodies: Readonly<Record<string, (text: string, target: Target) => Body>> = {
  "POST /v1/chat/completions": (text, { chatModel }) => ({
    model: chatModel,
    messages: [
      { role: "system", content: text, name: "someone" },
      { role: "user", content: [{ type: "text", text }] },
    ],
    user: text.slice(0, 512),
    store: true,
    metadata: { [text.slice(0, 64)]: text.slice(0, 512) },
    stop: [text.slice(0, 64)],
  }),
  "POST /v1/chat/completions/:id": (text) => ({ metadata: { [text.slice(0, 64)]: text.slice(0, 512) } }),
  "POST /v1/embeddings": (text, { embeddingModel }) => ({
    model: embeddingModel,
    input: [text, text],
    user: text.slice(0, 512),
  }),
  "POST /v1/exports": (text) => ({ scope: { subject: text.slice(0, 320) } }),
  "POST /admin/tenants/:tenantId/exports": (text) => ({ scope: { subject: text.slice(0, 320) } }),
  "PUT /admin/log-levels": () => ({ levels: "trace" }),
  "POST /admin/tenants": (text) => ({ name: text.slice(0, 200) }),
  "PATCH /admin/tenants/:tenantId": (text) => ({ name: text.slice(0, 200) }),
  "PUT /admin/tenants/:tenantId/limits": () => ({ requests_per_minute: null }),
  "POST /admin/tenants/:tenantId/keys": (text) => ({ name: text.slice(0, 200) }),
};

export const nameOf = ({ method, path }: Route): string => `${method} ${path}`;

/** Pushes every text through every route, with keys that open it and with what is no key. */
export async function pushThroughRoutes(target: Target, routes: readonly Route[]): Promise<Pushed[]> {
  const pushed: Pushed[] = [];
  // What deletes comes last: the others need what is there.
  const ordered = routes.toSorted((a, b) => Number(a.method === "DELETE") - Number(b.method === "DELETE"));
  for (const route of ordered) {
    const work = requestsFor(target, route);
    const next = work[Symbol.iterator]();
    await Promise.all(
      Array.from({ length: workers }, async () => {
        for (let one = next.next(); !one.done; one = next.next()) {
          const [place, request] = one.value;
          pushed.push({ route: nameOf(route), place, ...(await send(target.url, request)) });
        }
      }),
    );
  }
  return pushed;
}

/** The key that opens a route. */
function keyFor({ keys }: Target, { path }: Route): string {
  if (path.startsWith("/admin/")) return keys.operator;
  return path.startsWith("/v1/exports") ? keys.admin : keys.inference;
}

function* requestsFor(target: Target, route: Route): Generator<[Place, SentRequest]> {
  const texts = target.corpus.map(({ text }) => text);
  const { method } = route;
  const key = keyFor(target, route);
  const makeBody = bodies[nameOf(route)] ?? ((text: string): Body => ({ text }));
  const path = pathWithIds(target, route);
  const isForm = nameOf(route) === "POST /v1/files";
  for (const [at, text] of texts.entries()) {
    const headers = headersWith(texts, at);
    const opened = { ...headers, authorization: `Bearer ${key}` };
    const json = { ...opened, "content-type": "application/json" };
    const encoded = encodeURIComponent(text);
    const queryName = route.queryNames[at % (route.queryNames.length + 1)] ?? "x";
    const query = `?${queryName}=${encoded}&x=${encoded}&${encoded}=${encoded}`;
    const withText = pathWith(route, encoded);
    const credentials = at % 2 === 0 ? inHeader(text) : `Bearer ${inHeader(text)}`;
    yield [
      "credentials",
      { method, path: withText + query, headers: { ...headers, authorization: credentials } },
    ];
    if (route.path.includes(":"))
      yield [
        "path",
        {
          method,
          path: withText,
          headers: method === "GET" ? opened : json,
          ...(method === "GET" || method === "DELETE"
            ? {}
            : { body: JSON.stringify(makeBody(text, target)) }),
        },
      ];
    if (method === "GET" || method === "DELETE") {
      yield ["query", { method, path: path + query, headers: opened }];
      continue;
    }
    if (isForm) {
      yield* formsWith(target, path, text, opened);
      continue;
    }
    const body = makeBody(text, target);
    const stream = method === "POST" && route.path === "/v1/chat/completions" && at % 2 === 1;
    yield [
      "body",
      {
        method,
        path: path + query,
        headers: json,
        body: JSON.stringify({ ...body, ...(stream ? { stream } : {}) }),
      },
    ];
    const field = route.fieldNames[at % route.fieldNames.length] ?? "x";
    yield [
      "wrong",
      { method, path, headers: json, body: JSON.stringify({ ...body, [field]: [{ [text]: text }] }) },
    ];
    yield ["wrong", { method, path, headers: json, body: JSON.stringify({ ...body, [field]: text }) }];
    yield [
      "names",
      { method, path, headers: json, body: JSON.stringify({ [text]: text, [`${text}x`]: { [text]: 1 } }) },
    ];
    yield ["no-json", { method, path, headers: json, body: `{"${text}": ${text}` }];
    yield ["type", { method, path, headers: { ...opened, "content-type": inHeader(text) }, body: text }];
  }
}

function* formsWith(
  { corpus }: Target,
  path: string,
  text: string,
  opened: OutgoingHttpHeaders,
): Generator<[Place, SentRequest]> {
  const line = Buffer.from(text.replaceAll("\n", " ")).toString();
  const quoted = line.replaceAll("\\", "").replaceAll('"', "%22");
  const other = corpus.find(({ name }) => name === "contents of a file")?.text ?? "";
  const form = (boundary: string, ...parts: readonly string[]): Buffer =>
    Buffer.from(`${parts.map((part) => `--${boundary}\r\n${part}\r\n`).join("")}--${boundary}--\r\n`);
  const named = (name: string, value: string): string =>
    `content-disposition: form-data; name="${name}"\r\n\r\n${value}`;
  const file = (name: string, filename: string, type: string): string =>
    `content-disposition: form-data; name="${name}"; filename="${filename}"\r\ncontent-type: ${type}\r\n\r\n${text}\n${other}`;
  const upload = (body: Buffer, boundary = "limit"): SentRequest => ({
    method: "POST",
    path,
    headers: { ...opened, "content-type": `multipart/form-data; boundary=${boundary}` },
    body,
  });
  yield ["body", upload(form("limit", named("purpose", "batch"), file("file", quoted, "text/plain")))];
  yield ["wrong", upload(form("limit", named("purpose", text), file("file", quoted, line)))];
  yield ["names", upload(form("limit", named(quoted, text), file(quoted, quoted, "text/plain")))];
  yield ["no-json", upload(Buffer.from(`--limit\r\n${line}\r\n\r\n${text}`))];
  yield ["type", { ...upload(Buffer.from(text)), headers: { ...opened, "content-type": inHeader(text) } }];
}

/** The path of a route with ids that there are, of what may be deleted or of what stays. */
function pathWithIds({ ids }: Target, { method, path }: Route): string {
  return path.replace(/:\w+|\*/g, (name) => {
    return ids[`${method} ${path} ${name}`] ?? ids[`${path.split("/:")[0]} ${name}`] ?? ids[name] ?? "none";
  });
}

const pathWith = ({ path }: Route, text: string): string => path.replace(/:\w+|\*/g, text);

/** Requests for what is not there, and with methods that are not accepted. */
export async function pushElsewhere({ url, corpus, keys }: Target): Promise<Answer[]> {
  const answers: Answer[] = [];
  const texts = corpus.map(({ text }) => text);
  for (const [at, text] of texts.entries()) {
    const encoded = encodeURIComponent(text);
    const headers = { ...headersWith(texts, at), authorization: `Bearer ${keys.inference}` };
    for (const [method, path] of [
      ["GET", `/${encoded}?${encoded}=${encoded}`],
      ["POST", `/v1/${encoded}/${encoded}`],
      ["PUT", `/v1/models?api_key=${encoded}`],
      ["OPTIONS", `/v1/chat/completions/${encoded}`],
      ["GET", `/docs/${encoded}`],
      ["GET", `/health/live?token=${encoded}`],
      ["GET", `/health/ready?token=${encoded}`],
    ] as const)
      answers.push(await send(url, { method, path, headers }));
  }
  return answers;
}

/** Requests whose paths the router cannot read: they reach no route. */
export async function pushUnreadablePaths({ url, corpus, keys }: Target): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const { text } of corpus) {
    const encoded = encodeURIComponent(text);
    const headers = { authorization: `Bearer ${keys.inference}` };
    for (const path of [`/v1/files/%zz${encoded}`, `/v1/models/${encoded.repeat(20)}`])
      answers.push(await send(url, { method: "GET", path, headers }));
  }
  return answers;
}

/** What no client would send. Gives the first lines of the answers; where there is none, an empty one. */
export async function pushMalformed({ url, corpus, keys }: Target): Promise<string[]> {
  const lines: string[] = [];
  for (const { text } of corpus) {
    const line = text.replaceAll("\n", " ");
    const authorization = `authorization: Bearer ${keys.inference}`;
    for (const raw of [
      `${line} /v1/models HTTP/1.1\r\nhost: x\r\n\r\n`,
      `GET /${line} HTTP/1.1\r\nhost: x\r\n\r\n`,
      `GET /v1/models HTTP/1.1\r\n${line}\r\n\r\n`,
      `GET /v1/models HTTP/1.1\r\nhost: x\r\n${authorization}\0${line}\r\n\r\n`,
      `GET /v1/models?${encodeURIComponent(line)} HTTP/1.1\r\nauthorization: Bearer ${line}\r\n\r\n`,
      `GET /v1/models HTTP/1.1\r\nhost: x\r\nx-long: ${line.repeat(1 + 17_000 / line.length)}\r\n\r\n`,
      `CONNECT ${encodeURIComponent(line)}:443 HTTP/1.1\r\nhost: x\r\n${authorization}\r\n\r\n`,
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n${authorization}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n${line}\r\n`,
      `GET /v1/models HTTP/1.1\r\nhost: ${line}\r\n${authorization}\r\nconnection: upgrade\r\nupgrade: ${line}\r\n\r\n`,
      `GET /v1/models HTTP/1.1\r\nhost: x\r\n${authorization}\r\nexpect: ${line}\r\n\r\n`,
    ]) {
      const connection = await rawConnection(url);
      connection.write(Buffer.from(raw));
      lines.push((await connection.until(/\r\n/).catch(() => "")).split("\r\n", 1)[0] as string);
      connection.socket.destroy();
    }
  }
  return lines;
}
