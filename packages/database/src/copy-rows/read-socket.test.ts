import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import pg from "pg";
import { afterEach, describe, expect, inject, test } from "vitest";
import { newCertificate } from "../../../../tests/monitoring/certificate.ts";
import { openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import { recordingLog } from "../../../../tests/postgres/recording-log.ts";
import { until } from "../../../../tests/postgres/until.ts";
import { openDatabase } from "../database.ts";
import { platformTenantId } from "../index.ts";
import { createReadSocket, takeChunks } from "./read-socket.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** Listens on a free port and gives it. */
async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onConnection(socket);
  });
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as { port: number }).port;
}

/** Both ends of a connection; the reading one is a read socket to whose `data` somebody listens, as pg does. */
async function connected() {
  const accepted = Promise.withResolvers<Socket>();
  const port = await listen(accepted.resolve);
  const socket = createReadSocket();
  closing.push(() => socket.destroy());
  const data: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => data.push(chunk));
  socket.connect(port, "127.0.0.1");
  return { socket, data, peer: await accepted.promise };
}

const size = (chunks: readonly Buffer[]): number => chunks.reduce((sum, { length }) => sum + length, 0);
/** More than its memory, and no two pieces of it are alike. */
const much = Buffer.from(Array.from({ length: 200_000 }, (_, index) => `${index};`).join(""));

describe("a read socket", () => {
  test("gives chunks that stay as they are, when nobody takes them", async () => {
    const { data, peer } = await connected();
    peer.write(much);
    await until(() => size(data) === much.length);
    expect(data.length).toBeGreaterThan(1);
    expect(Buffer.concat(data).equals(much)).toBe(true);
  });

  test("gives chunks in one piece of memory to who takes them, and none as data, until they are given back", async () => {
    const { socket, data, peer } = await connected();
    const taken: Buffer[] = [];
    const memory = new Set<ArrayBufferLike>();
    const take = (chunk: Buffer): void => {
      memory.add(chunk.buffer);
      taken.push(Buffer.from(chunk));
    };
    expect(takeChunks(socket, take)).toBe(true);
    peer.write(much);
    await until(() => size(taken) === much.length);
    expect(Buffer.concat(taken).equals(much)).toBe(true);
    expect(memory.size).toBe(1);
    expect(data).toEqual([]);
    expect(takeChunks(socket, undefined)).toBe(true);
    peer.write("after it");
    await until(() => size(data) > 0);
    expect(Buffer.concat(data).toString()).toBe("after it");
    expect(size(taken)).toBe(much.length);
  });

  test("reads no more while it is paused, so that its peer has to wait", async () => {
    const { socket, peer } = await connected();
    const taken: Buffer[] = [];
    takeChunks(socket, (chunk) => {
      taken.push(Buffer.from(chunk));
      socket.pause();
    });
    const sent = Buffer.alloc(64 * 1024 * 1024, "x");
    let isSent = false;
    peer.write(sent, () => {
      isSent = true;
    });
    await until(() => taken.length === 1);
    expect(socket.isPaused()).toBe(true);
    // Whatever would still come comes before what the kernel has no room for.
    const other = await connected();
    other.peer.write("y");
    await until(() => size(other.data) === 1);
    expect(taken).toHaveLength(1);
    expect(isSent).toBe(false);
    socket.resume();
    await until(() => taken.length === 2);
    expect(isSent).toBe(false);
    takeChunks(socket, (chunk) => taken.push(Buffer.from(chunk)));
    socket.resume();
    await until(() => size(taken) === sent.length);
  });

  test("ends when its peer does, also while its chunks are taken", async () => {
    const { socket, peer } = await connected();
    let bytes = 0;
    takeChunks(socket, (chunk) => {
      bytes += chunk.length;
    });
    const ended = once(socket, "end");
    peer.end("the last");
    await ended;
    expect(bytes).toBe(8);
  });

  test("is no other kind of socket", () => {
    const socket = connect({ port: 1, host: "127.0.0.1", autoSelectFamily: false });
    socket.on("error", () => {});
    closing.push(() => socket.destroy());
    expect(takeChunks(socket, () => {})).toBe(false);
  });
});

interface Internals {
  readonly connection: { readonly stream: Socket };
}

function clientOf(config: pg.ClientConfig): pg.Client {
  const client = new pg.Client({ stream: createReadSocket, ...config });
  client.on("error", () => {});
  closing.push(() => client.end().catch(() => {}));
  return client;
}
const streamOf = (client: pg.Client): Socket => (client as unknown as Internals).connection.stream;

describe("a client of pg with it", () => {
  test("reads through it, and rows larger than its memory", async () => {
    const client = clientOf({ connectionString: inject("superuserUrl") });
    expect(takeChunks(streamOf(client), undefined)).toBe(true);
    await client.connect();
    // Large and small ones by turns: a message that is not whole is kept until the rest is there.
    const { rows } = await client.query<{ text: string; n: number }>(
      "select repeat(md5(n::text), case n % 3 when 0 then 40000 else n end) as text, n from generate_series(1, 60) n",
    );
    expect(rows.map(({ n }) => n)).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
    const { rows: same } = await client.query(
      "select from unnest($1::text[]) with ordinality as got (text, n) where text <> repeat(md5(n::text), (case n % 3 when 0 then 40000 else n end)::integer)",
      [rows.map(({ text }) => text)],
    );
    expect(same).toEqual([]);
  });

  test("reaches a name that has several addresses", async () => {
    const url = new URL(inject("superuserUrl"));
    url.hostname = "localhost";
    const client = clientOf({ connectionString: url.href });
    await client.connect();
    expect((await client.query("select repeat('x', 1000000) as text")).rows[0].text).toHaveLength(1_000_000);
  });

  test("gives up a server that does not answer", async () => {
    const port = await listen(() => {});
    const client = clientOf({ host: "127.0.0.1", port, connectionTimeoutMillis: 100 });
    await expect(client.connect()).rejects.toThrow("timeout");
    await until(() => streamOf(client).destroyed);
  });

  test("has TCP ask whether the server is there", async () => {
    const asked: unknown[] = [];
    const stream = (): Socket => {
      const socket = createReadSocket();
      socket.setKeepAlive = (...given) => {
        asked.push(given);
        return socket;
      };
      return socket;
    };
    const client = clientOf({
      connectionString: inject("superuserUrl"),
      stream,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
    });
    await client.connect();
    expect(asked).toEqual([[true, 10_000]]);
  });
});

test("rows come through a connection with TLS, too", async () => {
  const open = await openTestDatabase();
  closing.push(open.close);
  const url = new URL(open.appUrl);
  const target = { port: Number(url.port), host: url.hostname };
  const { cert, key } = await newCertificate("localhost");
  let encrypted = 0;
  // As the server does it: a request for TLS is answered with a byte, and what follows is encrypted.
  const port = await listen((socket) => {
    socket.once("data", () => {
      socket.write("S");
      const secure = new TLSSocket(socket, { isServer: true, cert, key });
      secure.on("secure", () => {
        encrypted += 1;
      });
      const postgres = connect(target);
      for (const [from, to] of [
        [secure, postgres],
        [postgres, secure],
      ] as const) {
        from.on("error", () => to.destroy());
        from.on("close", () => to.destroy());
        from.pipe(to);
      }
    });
  });
  url.port = String(port);
  url.searchParams.set("sslmode", "no-verify");
  const database = openDatabase({ url: url.href, poolSize: 1, log: recordingLog().log });
  closing.push(() => database.close());
  const rows = 3_000;
  const copy = {
    text: `copy (select n, repeat(md5(n::text), n % 70) from generate_series(1, ${rows}) n) to stdout (format csv, force_quote *)`,
    table: "none",
    settings: {},
    format: "csv",
    blockBytes: 100_000,
  } as const;
  const expected = await open.owner.query<{ line: string }>(
    `select format('"%s","%s"', n, repeat(md5(n::text), n % 70)) as line from generate_series(1, ${rows}) n`,
  );
  const lines = await database.inSnapshot(
    { tenantId: platformTenantId, tables: [], readers: 2 },
    async ({ readers: [reader] }) => {
      const blocks: Buffer[] = [];
      for await (const { bytes } of reader.copyRows(copy)) blocks.push(bytes);
      // What comes after the rows is pg's again.
      await reader.query({ text: "select 1", values: [], operation: "test", table: "none" });
      return Buffer.concat(blocks).toString().split("\r\n");
    },
  );
  expect(lines).toEqual([...expected.rows.map(({ line }) => line), ""]);
  expect(encrypted).toBeGreaterThanOrEqual(2);
});
