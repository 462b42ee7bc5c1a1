import { expect, test } from "vitest";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { slowStatementLog } from "./slow-statements.ts";

const kind = { operation: "select", table: "users" } as const;

test("a slow statement is logged with what it is and how long it took, without its values", () => {
  const { log, lines } = recordingLog();
  slowStatementLog({ log })(kind, 1234.5, "select * from users where email = 'a@example.org' and id = $1");
  expect(lines).toEqual([
    expect.objectContaining({
      level: "warn",
      msg: "slow statement",
      operation: "select",
      table: "users",
      durationMs: 1235,
      fingerprint: expect.stringMatching(/^[\da-f]{16}$/),
      statement: "select * from users where email = ? and id = ?",
    }),
  ]);
});

test("a second has a few lines; what is not logged is counted in the next line", () => {
  const { log, lines } = recordingLog();
  let nowMs = 5_000;
  const logSlow = slowStatementLog({ log, mostPerSecond: 2, now: () => nowMs });
  const logMany = (): void => {
    for (let round = 0; round < 10; round += 1) logSlow(kind, 600, "select 1");
  };
  logMany();
  expect(lines).toHaveLength(2);
  nowMs += 999;
  logMany();
  expect(lines).toHaveLength(2);
  nowMs += 1;
  logMany();
  expect(lines.map(({ notLogged }) => notLogged)).toEqual([undefined, undefined, 18, undefined]);
});
