// GET /v1/signing-keys: what exports can be checked with, for whoever holds one. It needs no key.
import { publicSigningKey } from "@ectus/bag";
import { type Database, listSigningKeys } from "@ectus/database";
import Type from "typebox";
import type { App } from "../app.ts";
import { errorAnswers } from "../schemas.ts";

const Jwk = Type.Object({
  kty: Type.Literal("OKP"),
  crv: Type.Literal("Ed25519"),
  alg: Type.Literal("EdDSA"),
  use: Type.Literal("sig"),
  kid: Type.String({ description: "Its thumbprint (RFC 7638)" }),
  x: Type.String({ description: "The public key: 32 bytes in base64url" }),
});
const JwkSet = Type.Object({
  keys: Type.Array(Jwk, { description: "Every key that was ever signed with, the newest first" }),
});

const maxAgeSeconds = 300;
// Nobody needs a key here, so what is asked often is not asked of the database as often.
const keptMs = 5_000;

type Answer = Type.Static<typeof JwkSet>;

/** @param now milliseconds of a clock that never goes back */
export function addSigningKeys(
  app: App,
  database: Database,
  now: () => number = () => performance.now(),
): void {
  let kept: { readonly until: number; readonly answer: Promise<Answer> } | undefined;
  const answer = (): Promise<Answer> => {
    if (kept !== undefined && now() < kept.until) return kept.answer;
    const asked = { until: now() + keptMs, answer: readKeys(database) };
    kept = asked;
    // A failure is answered to those who wait for it, and to nobody after them.
    asked.answer.catch(() => {
      if (kept === asked) kept = undefined;
    });
    return asked.answer;
  };
  app.get(
    "/v1/signing-keys",
    {
      schema: {
        tags: ["Exports"],
        summary: "Returns the public keys that exports are signed with, as a JWK Set",
        security: [],
        response: {
          "2xx": {
            ...JwkSet,
            headers: { "cache-control": { type: "string", description: "How long they can be kept" } },
          },
          ...errorAnswers,
        },
      },
    },
    async (_request, reply) => {
      const keys = await answer();
      return reply.header("cache-control", `public, max-age=${maxAgeSeconds}`).send(keys);
    },
  );
}

async function readKeys(database: Database): Promise<Answer> {
  const rows = await listSigningKeys(database);
  return { keys: rows.map(({ publicKey }) => publicSigningKey(publicKey)) };
}
