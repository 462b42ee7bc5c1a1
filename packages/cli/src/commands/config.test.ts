import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { variables } from "@ectus/core";
import { afterEach, expect, test } from "vitest";
import { runRecorded } from "../recorded-context.ts";

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

const secret = "a secret of at least 32 characters";

test("every variable is shown with its value, source and what it accepts, secrets masked", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ectus-config-"));
  folders.push(folder);
  const file = join(folder, "ectus.env");
  await writeFile(file, "PORT=8081\nLOG_LEVEL=debug\n");
  const environment = { ECTUS_CONFIG: file, LOG_LEVEL: "warn", API_KEY_SECRET: secret };
  const { code, out } = await runRecorded(environment, "config", "--json", "--data-dir", "/data");
  expect(code).toBe(0);
  expect(out).not.toContain(secret);
  const { object, variables: rows, fault } = JSON.parse(out);
  expect(object).toBe("config");
  expect(fault).toBeNull();
  expect(rows.map(({ name }: { name: string }) => name)).toEqual(Object.keys(variables));
  const row = (wanted: string) => rows.find(({ name }: { name: string }) => name === wanted);
  expect(row("PORT")).toMatchObject({ value: "8081", source: "file" });
  expect(row("LOG_LEVEL")).toMatchObject({ value: "warn", source: "environment" });
  expect(row("API_KEY_SECRET")).toMatchObject({ value: "[secret]", source: "environment" });
  expect(row("DATA_DIR")).toMatchObject({ value: "/data" });
  expect(row("HOST")).toMatchObject({ value: "0.0.0.0", source: "default" });
  expect(row("DATABASE_URL")).toMatchObject({ value: null, source: "unset" });
  for (const { accepts } of rows) expect(accepts).not.toBe("");
});

test("people get a table", async () => {
  const { code, out } = await runRecorded({}, "config");
  expect(code).toBe(0);
  expect(out).toMatch(/^VARIABLE +VALUE +SOURCE +ACCEPTS\nDATABASE_URL +- +unset/);
});

test("values that are not acceptable are shown and told, and the exit code is 2", async () => {
  const { code, out, err } = await runRecorded({ PORT: "x" }, "config", "--json");
  expect(code).toBe(2);
  expect(JSON.parse(out).fault).toContain('PORT: got "x"');
  expect(err).toContain('PORT: got "x"');
});
