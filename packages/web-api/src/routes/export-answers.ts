// What the document of the API says of downloads: their headers, and every answer that they have.
import type { Readable } from "node:stream";
import Type from "typebox";
import { errorAnswers } from "../schemas.ts";

export const text = (description: string) => ({ type: "string", description });
const validators = {
  "accept-ranges": text("bytes"),
  etag: text("A strong one: for If-Range and If-None-Match"),
  "last-modified": text("When the export was finished"),
  "cache-control": text("private, no-cache, no-transform"),
};
export const rangeHeaders = {
  ...validators,
  "x-content-type-options": text("nosniff"),
  "content-length": text("Bytes of this answer"),
  "content-range": text("Of an answer to a Range: first and last byte, and how many there are"),
  "content-disposition": text("attachment"),
};
export const requestHeaders = Type.Object({
  range: Type.Optional(
    Type.String({ description: "One range, as bytes=1000-; several are answered with the whole" }),
  ),
  "if-range": Type.Optional(
    Type.String({ description: "ETag or Last-Modified of what the range goes on; else the whole is sent" }),
  ),
  "if-none-match": Type.Optional(Type.String({ description: "ETags of what the client has: 304" })),
});
export const binary = (type: string, headers: object) =>
  Type.Unsafe<Readable>({
    description: "The bytes: 200 with all, 206 with those of the range",
    headers,
    content: { [type]: { schema: { type: "string", format: "binary" } } },
  });

export const otherAnswers = {
  304: Type.Unsafe<Readable>({
    description: "The client has it: its If-None-Match names the ETag",
    headers: validators,
    type: "null",
  }),
  416: {
    ...errorAnswers["4xx"],
    description: "The range begins after the end",
    headers: { "content-range": text("How many bytes there are, as bytes */5000") },
  },
  ...errorAnswers,
};
