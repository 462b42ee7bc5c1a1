import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { contentTypeOf, negotiate } from "./negotiation.ts";

const answerTo = (accept: string | undefined) => contentTypeOf(negotiate(accept));

const text004 = "text/plain; version=0.0.4; charset=utf-8";
const text100 = "text/plain; version=1.0.0; charset=utf-8; escaping=";
const openMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=";
const protobuf =
  "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=";
const askForProtobuf =
  "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

describe("Prometheus gets what it likes best", () => {
  // acceptHeader in https://github.com/prometheus/prometheus/blob/v3.16.0/scrape/scrape.go
  test.each([
    [
      "3, by default",
      "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
      `${openMetrics}allow-utf-8`,
    ],
    [
      "3, with native histograms",
      `${askForProtobuf};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1`,
      `${protobuf}allow-utf-8`,
    ],
    [
      "3, text 1.0.0 with names escaped",
      "text/plain;version=1.0.0;escaping=dots;q=0.6,*/*;q=0.5",
      `${text100}dots`,
    ],
    ["3, text 0.0.4", "text/plain;version=0.0.4;q=0.6,*/*;q=0.5", text004],
    [
      "2.45",
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
      `${openMetrics}underscores`,
    ],
    [
      "2.45, with native histograms",
      `${askForProtobuf},application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1`,
      `${protobuf}underscores`,
    ],
  ])("%s", (_, accept, expected) => {
    expect(answerTo(accept)).toBe(expected);
  });
});

describe("as other clients negotiate", () => {
  // TestNegotiate and TestNegotiateIncludingOpenMetrics in
  // https://github.com/prometheus/common/blob/main/expfmt/encode_test.go (v0.72.1). Theirs answers OpenMetrics without a
  // version with 0.0.1, and knows the other encodings of protobuf.
  test.each([
    ["application/openmetrics-text", `${openMetrics}underscores`],
    ["application/openmetrics-text;version=1.0.0; escaping=values;", `${openMetrics}values`],
    ["application/openmetrics-text;version=2.0.0", text004],
    ["application/openmetrics-text;version=0.0.4", text004],
    ["text/plain;version=0.0.4", text004],
    ["text/plain", text004],
    ["text/plain;version=0.0.4; escaping=allow-utf-8", `${text004}; escaping=allow-utf-8`],
    [`${askForProtobuf}; escaping=allow-utf-8;`, `${protobuf}allow-utf-8`],
    [`${askForProtobuf}; escaping=underscores;`, `${protobuf}underscores`],
    ["application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", text004],
    ["application/vnd.google.protobuf;proto=some.Other;encoding=delimited", text004],
    ["*/*", text004],
    // vmagent, and Prometheus before 2.5.
    ["text/plain;version=0.0.4;q=1,*/*;q=0.1", text004],
    // Telegraf.
    [`${askForProtobuf};q=0.7,text/plain;version=0.0.4;q=0.3`, `${protobuf}underscores`],
    ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", text004],
    ["application/json, */*", text004],
    [
      "application/openmetrics-text;version=1.0.0;q=0.8, application/openmetrics-text;version=2.0.0;q=0.9",
      `${openMetrics}underscores`,
    ],
  ])("%s", (accept, expected) => {
    expect(answerTo(accept)).toBe(expected);
  });
});

describe("the rules of RFC 9110, section 12.5.1", () => {
  test.each([
    ["no header", undefined, text004],
    ["an empty header", "", text004],
    [
      "the higher weight wins, in any order",
      "text/plain;q=0.5, application/openmetrics-text",
      `${openMetrics}underscores`,
    ],
    ["of equal weight, what is named first", `text/plain;version=0.0.4, ${askForProtobuf}`, text004],
    [
      "of equal weight, what is named first",
      `${askForProtobuf}, text/plain;version=0.0.4`,
      `${protobuf}underscores`,
    ],
    [
      "what is named goes before a wildcard",
      "*/*, application/openmetrics-text",
      `${openMetrics}underscores`,
    ],
    [
      "a specific range counts over a general one",
      "text/*;q=0.9, text/plain;version=0.0.4;q=0.1",
      `${text100}underscores`,
    ],
    [
      "a specific refusal counts, too",
      "text/plain;version=0.0.4;q=0, text/plain;q=0.3",
      `${text100}underscores`,
    ],
    ["a weight of 0 is a refusal", "application/openmetrics-text;q=0.0, text/plain;q=0.001", text004],
    ["a refusal alone asks for nothing", "application/openmetrics-text;q=0", text004],
    ["what refuses everything gets the simplest", "*/*;q=0", text004],
    ["a wildcard for the subtype", "text/*", text004],
    ["a wildcard for what is no text", "application/*", `${openMetrics}underscores`],
    ["upper case", "APPLICATION/OpenMetrics-Text; VERSION=1.0.0; Q=1", `${openMetrics}underscores`],
    ["spaces and empty elements", " , text/plain ; version = 1.0.0 , ,", `${text100}underscores`],
    ["a quoted parameter", 'text/plain;version="1.0.0";escaping="dots"', `${text100}dots`],
    ["separators in quotes", 'text/html;a="x,application/openmetrics-text;q=1", text/plain;q=0.1', text004],
    ["another character set", "text/plain;charset=latin1", text004],
    ["an unknown escaping", "text/plain;version=1.0.0;escaping=rot13", `${text100}underscores`],
    ["a weight that is none", "application/openmetrics-text;q=high, text/plain;q=0.1", text004],
    ["a weight above 1", "application/openmetrics-text;q=1.5, text/plain;q=0.1", text004],
  ])("%s: %s", (_, accept, expected) => {
    expect(answerTo(accept)).toBe(expected);
  });
});

test("whatever the header is, there is an answer, and soon", () => {
  const piece = fc.constantFrom(
    ...'\\" ,;=/*q'.split(""),
    "text/plain",
    "application/openmetrics-text",
    "version=",
    "1.0.0",
    "q=0.5",
    "escaping=dots",
  );
  const header = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(piece).map((pieces) => pieces.join("")),
  );
  fc.assert(
    fc.property(header, (accept) => {
      expect(["text", "openmetrics", "protobuf"]).toContain(negotiate(accept).kind);
    }),
  );
  expect(negotiate('";,'.repeat(20_000)).kind).toBe("text");
});
