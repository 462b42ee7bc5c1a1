// What the load client sends: a chat request of usual size as raw HTTP/1.1.

/** Value of `user` that makes the mock upstream hold a stream open for a while. */
export const heldUser = "held-open";

export type RequestKind = "plain" | "stream" | "held";

/** The model's name at the gateway and at the mock upstream. */
export const benchModel = "bench";

export function rawRequest(kind: RequestKind, headers: Readonly<Record<string, string>>): string {
  const body = JSON.stringify({
    model: benchModel,
    messages: [
      { role: "system", content: "You are a support agent of a small shop. Answer in one or two sentences." },
      {
        role: "user",
        content: "My parcel was due on Monday and has not come. What should I do, and whom do I ask?",
      },
    ],
    temperature: 0.2,
    max_tokens: 64,
    user: kind === "held" ? heldUser : "customer-4711",
    ...(kind === "plain" ? {} : { stream: true, stream_options: { include_usage: true } }),
  });
  const lines = Object.entries({
    host: "127.0.0.1",
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(body)),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `POST /v1/chat/completions HTTP/1.1\r\n${lines.join("")}\r\n${body}`;
}
