// An HTTP proxy in front of an S3 server that gives answers of its own to chosen requests.
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { pipeline } from "node:stream";

export interface GivenAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface AnsweringProxy {
  /** As `endpoint` in STORAGE_URL. */
  readonly endpoint: string;
  /** Requests so far, as "PUT /bucket/key?query". */
  readonly requests: readonly string[];
  /**
   * Answers requests that match in the server's place, which does not get them; the first `times` of them.
   */
  answer(matching: RegExp, answer: GivenAnswer, times?: number): void;
  /** Passes the first request that matches on, and cuts its connection in the place of the server's answer. */
  loseAnswer(matching: RegExp): void;
  /** Only the server answers from now on. */
  heal(): void;
  close(): Promise<void>;
}

interface Rule {
  readonly matching: RegExp;
  readonly answer: GivenAnswer | "lost";
  times: number;
}

export async function startAnsweringProxy(target: string): Promise<AnsweringProxy> {
  const { hostname, port } = new URL(target);
  const requests: string[] = [];
  let rules: Rule[] = [];

  function pass(incoming: IncomingMessage, outgoing: ServerResponse, isLost: boolean): void {
    const { method, url, headers } = incoming;
    const upstream = request({ hostname, port, method, path: url, headers }, (answer) => {
      if (isLost) {
        answer.resume().once("end", () => outgoing.destroy());
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      pipeline(answer, outgoing, () => {});
    });
    upstream.on("error", () => outgoing.destroy());
    pipeline(incoming, upstream, () => {});
  }

  const server = createServer((incoming, outgoing) => {
    const line = `${incoming.method} ${incoming.url}`;
    requests.push(line);
    const rule = rules.find(({ matching, times }) => times > 0 && matching.test(line));
    if (rule !== undefined) rule.times -= 1;
    if (rule === undefined || rule.answer === "lost") return pass(incoming, outgoing, rule !== undefined);
    const { status, headers, body } = rule.answer;
    incoming.resume().once("end", () => outgoing.writeHead(status, headers).end(body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();

  return {
    endpoint: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    requests,
    answer(matching, answer, times = Number.POSITIVE_INFINITY) {
      rules.push({ matching, answer, times });
    },
    loseAnswer(matching) {
      rules.push({ matching, answer: "lost", times: 1 });
    },
    heal() {
      rules = [];
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
