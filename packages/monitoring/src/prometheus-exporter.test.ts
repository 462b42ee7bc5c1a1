// Pages, credentials, TLS and the port of the exporter; what happens during scrapes is in exporter-scrapes.test.ts.
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import { EctusError } from "@ectus/core";
import { Gauge, Histogram, Registry } from "@ectus/metrics";
import { describe, expect, onTestFinished, test } from "vitest";
import { newCertificate } from "../../../tests/monitoring/certificate.ts";
import { ask as askUrl, startTestExporter } from "../../../tests/monitoring/test-exporter.ts";
import { until } from "../../../tests/postgres/until.ts";

const basic = (credentials: string) => ({
  authorization: `Basic ${Buffer.from(credentials).toString("base64")}`,
});
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

async function newFile(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-exporter-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "file"), text);
  return join(folder, "file");
}

function withQueue(): Registry {
  const registry = new Registry();
  new Gauge({ name: "queue_length", help: "Jobs.", registers: [registry] }).set(3);
  return registry;
}

describe("pages", () => {
  test("metrics come as text to whoever asks for nothing else", async () => {
    const { ask } = await startTestExporter({ registry: withQueue() });
    const { status, headers, text } = await ask("/metrics?collect[]=all");
    expect(status).toBe(200);
    expect(headers["content-type"]).toMatch(/^text\/plain; version=0\.0\.4; charset=utf-8/);
    expect(headers.vary).toBe("Accept, Accept-Encoding");
    expect(headers["content-encoding"]).toBeUndefined();
    expect(text).toContain("\nqueue_length 3\n");
  });

  test("the format is the one that the scraper prefers", async () => {
    const { ask } = await startTestExporter({ registry: withQueue() });
    const open = await ask("/metrics", { headers: { accept: "application/openmetrics-text;version=1.0.0" } });
    expect(open.headers["content-type"]).toMatch(/^application\/openmetrics-text; version=1\.0\.0/);
    expect(open.text).toMatch(/\n# EOF\n$/);
    const protobuf = await ask("/metrics", {
      headers: {
        accept: "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
      },
    });
    expect(protobuf.headers["content-type"]).toMatch(/^application\/vnd\.google\.protobuf/);
    expect(protobuf.body.includes("queue_length")).toBe(true);
  });

  test("a scraper that takes gzip gets it, and unpacked it is the same", async () => {
    const registry = new Registry();
    const histogram = new Histogram({ name: "h", help: "H.", labelNames: ["a"], registers: [registry] });
    for (let series = 0; series < 1_500; series++) histogram.observe({ a: series }, series / 100);
    const { ask } = await startTestExporter({ registry });
    const plain = await ask("/metrics");
    const packed = await ask("/metrics", { headers: { "accept-encoding": "gzip" } });
    expect(packed.headers["content-encoding"]).toBe("gzip");
    const unpacked = gunzipSync(packed.body).toString();
    // What the first scrape left behind differs.
    const others = (text: string) => text.split("\n").filter((line) => !line.includes("metrics_scrape"));
    expect(others(unpacked)).toEqual(others(plain.text));
    expect(packed.body.length * 5).toBeLessThan(plain.body.length);
    const refused = await ask("/metrics", { headers: { "accept-encoding": "gzip;q=0" } });
    expect(refused.headers["content-encoding"]).toBeUndefined();
  });

  test("HEAD gets the headers of GET and no body", async () => {
    const { ask } = await startTestExporter({ registry: withQueue() });
    for (const path of ["/metrics", "/-/healthy", "/"]) {
      const headers = { "accept-encoding": "gzip" };
      const head = await ask(path, { method: "HEAD", headers });
      const get = await ask(path, { headers });
      expect(head.status).toBe(200);
      expect(head.body).toHaveLength(0);
      for (const name of ["content-type", "content-encoding", "content-length", "vary"])
        expect(head.headers[name]).toBe(get.headers[name]);
    }
  });

  test("there are a health page and a start page with links, and nothing else", async () => {
    const { ask } = await startTestExporter();
    expect(await ask("/-/healthy")).toMatchObject({ status: 200, text: expect.stringContaining("healthy") });
    const start = await ask("/");
    expect(start).toMatchObject({ status: 200, text: expect.stringContaining('href="/metrics"') });
    expect(start.headers["content-type"]).toMatch(/^text\/html/);
    for (const path of ["/metric", "/metrics/", "/admin", "//metrics"]) {
      const answer = await ask(path);
      expect(answer).toMatchObject({ status: 404, text: expect.stringContaining("Metrics are at /metrics") });
      expect(answer.headers["content-type"]).toMatch(/^text\/plain/);
    }
  });

  test.each(["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])("%s is told what is allowed", async (method) => {
    const { ask } = await startTestExporter();
    for (const path of ["/metrics", "/-/healthy", "/"]) {
      const answer = await ask(path, { method });
      expect(answer).toMatchObject({
        status: 405,
        text: `${method} is not allowed here. Use GET or HEAD.\n`,
      });
      expect(answer.headers.allow).toBe("GET, HEAD");
    }
  });

  test("a connection is kept between scrapes", async () => {
    const { exporter } = await startTestExporter();
    const socket = connect(Number(new URL(exporter.url ?? "").port), "127.0.0.1").setEncoding("utf8");
    onTestFinished(() => void socket.destroy());
    let got = "";
    socket.on("data", (text) => {
      got += text;
    });
    for (const times of [1, 2]) {
      socket.write("GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n");
      await until(() => got.split("healthy.").length === times + 1);
    }
    expect(got).toContain("Keep-Alive: timeout=130");
  });

  test("a scraper of HTTP/1.0 gets all of it, and the end of its connection", async () => {
    const { exporter } = await startTestExporter({ registry: withQueue() });
    const socket = connect(Number(new URL(exporter.url ?? "").port), "127.0.0.1");
    socket.write("GET /metrics HTTP/1.0\r\n\r\n");
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).not.toMatch(/transfer-encoding/i);
    expect(answer).toContain("\nqueue_length 3\n");
  });

  test("of very many connections those that are only kept make way", async () => {
    const { exporter, ask } = await startTestExporter({ registry: withQueue() });
    const kept = Array.from({ length: 100 }, async () => {
      const socket = connect(Number(new URL(exporter.url ?? "").port), "127.0.0.1");
      onTestFinished(() => void socket.destroy());
      socket.write("GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n");
      await once(socket, "data");
    });
    await Promise.all(kept);
    await expect(ask("/metrics")).rejects.toThrow();
    await until(async () => (await ask("/metrics").catch(() => undefined))?.status === 200);
  });
});

describe("credentials", () => {
  test("a token is needed for all but the health page, and a wrong one is told how", async () => {
    const token = await newFile("right-token\n");
    const { ask, lines } = await startTestExporter({ files: { METRICS_BEARER_TOKEN_FILE: token } });
    expect((await ask("/-/healthy")).status).toBe(200);
    for (const path of ["/metrics", "/", "/nothing"]) {
      for (const headers of [{}, bearer("wrong-token"), basic("right-token:"), { authorization: "x" }]) {
        const answer = await ask(path, { headers });
        expect(answer).toMatchObject({ status: 401, text: "Credentials are missing or wrong.\n" });
        expect(answer.headers["www-authenticate"]).toBe('Bearer realm="metrics"');
      }
      for (const method of ["HEAD", "POST"]) expect((await ask(path, { method })).status).toBe(401);
    }
    expect((await ask("/metrics", { headers: bearer("right-token") })).status).toBe(200);
    expect(JSON.stringify(lines)).not.toContain('token"');
    expect(JSON.stringify(lines)).not.toMatch(/right-token|wrong-token/);
  });

  test("with users and tokens either is enough", async () => {
    const files = {
      METRICS_BEARER_TOKEN_FILE: await newFile("a-token"),
      METRICS_BASIC_AUTH_FILE: await newFile("prometheus:pass:word\n"),
    };
    const { ask } = await startTestExporter({ files });
    const refused = await ask("/metrics", { headers: basic("prometheus:password") });
    expect(refused.status).toBe(401);
    expect(refused.headers["www-authenticate"]).toBe(
      'Bearer realm="metrics", Basic realm="metrics", charset="UTF-8"',
    );
    expect((await ask("/metrics", { headers: basic("prometheus:pass:word") })).status).toBe(200);
    expect((await ask("/metrics", { headers: bearer("a-token") })).status).toBe(200);
  });

  test("a token that is rotated holds at once, and the last good one holds when the file is damaged", async () => {
    const file = await newFile("first");
    const { ask, lines } = await startTestExporter({ files: { METRICS_BEARER_TOKEN_FILE: file } });
    const statusOf = async (token: string) => (await ask("/metrics", { headers: bearer(token) })).status;
    expect(await statusOf("first")).toBe(200);
    await writeFile(file, "second");
    expect(await statusOf("first")).toBe(401);
    expect(await statusOf("second")).toBe(200);
    await rm(file);
    expect(await statusOf("second")).toBe(200);
    expect(await statusOf("first")).toBe(401);
    expect(lines.filter(({ level }) => level === "warn")).toMatchObject([{ files: [file] }]);
  });

  test("files that cannot be used end the start, each with its variable", async () => {
    const files = {
      METRICS_BEARER_TOKEN_FILE: "/nowhere/token",
      METRICS_BASIC_AUTH_FILE: await newFile("hunter2"),
      METRICS_TLS_CERT_FILE: await newFile("nonsense"),
      METRICS_TLS_KEY_FILE: await newFile("nonsense"),
    };
    const error = await startTestExporter({ files }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(EctusError);
    expect(error.code).toBe("invalid_config");
    expect(error.details.faults.split("\n")).toEqual([
      expect.stringMatching(
        /^ {2}METRICS_TLS_CERT_FILE, METRICS_TLS_KEY_FILE: got "\/.*", .* no PEM|not PEM/,
      ),
      expect.stringMatching(
        /^ {2}METRICS_BEARER_TOKEN_FILE: got "\/nowhere\/token", .*ENOENT.*accepts a file/,
      ),
      expect.stringMatching(/^ {2}METRICS_BASIC_AUTH_FILE: got .*line 1 is not user:password/),
    ]);
    expect(error.message).not.toContain("hunter2");
  });
});

describe("TLS", () => {
  test("a new connection gets the certificate that is there now, and until both files fit the one before", async () => {
    const [one, two] = [await newCertificate("localhost"), await newCertificate("localhost")];
    const { certFile, keyFile } = one;
    const { exporter, ask, lines } = await startTestExporter({
      registry: withQueue(),
      files: { METRICS_TLS_CERT_FILE: certFile, METRICS_TLS_KEY_FILE: keyFile },
    });
    expect(exporter.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const first = await ask("/metrics", { ca: one.cert });
    expect(first).toMatchObject({ status: 200, text: expect.stringContaining("queue_length 3") });
    await expect(ask("/metrics", { ca: two.cert })).rejects.toThrow();

    await writeFile(certFile, two.cert);
    expect((await ask("/metrics", { ca: one.cert })).status).toBe(200);
    expect((await ask("/metrics", { ca: one.cert })).status).toBe(200);
    await writeFile(keyFile, two.key);
    const second = await ask("/metrics", { ca: two.cert });
    expect(second.status).toBe(200);
    expect(second.certificate?.fingerprint256).not.toBe(first.certificate?.fingerprint256);
    await expect(ask("/metrics", { ca: one.cert })).rejects.toThrow();

    const told = lines.filter(({ files }) => files !== undefined);
    expect(told.map(({ level }) => level)).toEqual(["warn", "info"]);
    expect(JSON.stringify(lines)).not.toContain("PRIVATE");
  });

  test("who speaks no TLS gets nothing, and others go on", async () => {
    const { certFile, keyFile, cert } = await newCertificate("localhost");
    const files = { METRICS_TLS_CERT_FILE: certFile, METRICS_TLS_KEY_FILE: keyFile };
    const { exporter, ask } = await startTestExporter({ files });
    const socket = connect(Number(new URL(exporter.url ?? "").port), "127.0.0.1");
    socket.on("error", () => {});
    socket.resume().write("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(socket, "close");
    expect((await ask("/metrics", { ca: cert })).status).toBe(200);
  });
});

describe("the port", () => {
  async function occupy(port = 0): Promise<{ blocker: Server; port: number }> {
    const blocker = createServer().listen(port, "127.0.0.1");
    await once(blocker, "listening");
    return { blocker, port: (blocker.address() as AddressInfo).port };
  }

  test("one that is taken is told once and tried until it is free", async () => {
    const { blocker, port } = await occupy();
    const { exporter, ask, lines } = await startTestExporter({ port, retryMs: 5 });
    expect(exporter).toMatchObject({ url: `http://127.0.0.1:${port}`, listening: false });
    const asked = performance.now();
    await until(() => performance.now() - asked > 30);
    await new Promise((closed) => blocker.close(closed));
    await until(() => exporter.listening);
    expect((await ask("/metrics")).status).toBe(200);
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      ["warn", expect.stringContaining("metrics cannot be served")],
      ["info", "metrics are served now"],
    ]);
  });

  test("closing ends the tries", async () => {
    const { blocker, port } = await occupy();
    const { exporter } = await startTestExporter({ port, retryMs: 1 });
    await exporter.close();
    await new Promise((closed) => blocker.close(closed));
    expect(exporter.listening).toBe(false);
    // Whoever wants the port can have it.
    const { blocker: next } = await occupy(port);
    await new Promise((closed) => next.close(closed));
  });

  test("an address that is not this machine's is tried again too, with no URL when the port was to be free", async () => {
    const { exporter, lines } = await startTestExporter({ host: "192.0.2.1", retryMs: 1 });
    expect(exporter.url).toBeUndefined();
    expect(lines).toMatchObject([{ level: "warn", reason: expect.stringContaining("EADDRNOTAVAIL") }]);
  });

  test("closing takes no longer than its grace, whoever holds a connection and in whatever state", async () => {
    const { certFile, keyFile, cert } = await newCertificate("localhost");
    const registry = new Registry();
    const collecting = Promise.withResolvers<void>();
    new Gauge({
      name: "hangs",
      help: "Hangs.",
      registers: [registry],
      collect() {
        collecting.resolve();
        return new Promise(() => {});
      },
    });
    const files = { METRICS_TLS_CERT_FILE: certFile, METRICS_TLS_KEY_FILE: keyFile };
    const { exporter, ask } = await startTestExporter({ registry, files });
    const { url = "" } = exporter;
    const handshaking = connect(Number(new URL(url).port), "127.0.0.1").resume();
    await once(handshaking, "connect");
    const closed = once(handshaking, "close");
    const scrape = ask("/metrics", { ca: cert });
    scrape.catch(() => {});
    await collecting.promise;
    await exporter.close(50);
    await expect(scrape).rejects.toThrow();
    await closed;
    await expect(askUrl(`${url}/-/healthy`)).rejects.toThrow("ECONNREFUSED");
  });
});

test("a scrape that runs when the exporter is closed comes to its end, and so does its connection", async () => {
  const registry = new Registry();
  const collecting = Promise.withResolvers<void>();
  const collected = Promise.withResolvers<void>();
  new Gauge({
    name: "slow",
    help: "Slow.",
    registers: [registry],
    async collect() {
      collecting.resolve();
      await collected.promise;
      this.set(7);
    },
  });
  const { exporter } = await startTestExporter({ registry });
  // One that would be kept.
  const socket = connect(Number(new URL(exporter.url ?? "").port), "127.0.0.1");
  socket.write("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  await collecting.promise;
  const closed = exporter.close(60_000);
  collected.resolve();
  const answer = await text(socket);
  expect(answer).toContain("\nslow 7\n");
  expect(answer).toMatch(/\r\n0\r\n\r\n$/);
  await closed;
});
