// Exports for people: one as facts, several as a table.
import type { ExportObject } from "./export-client.ts";
import { amountsOf, bytesText, countText, phaseOf } from "./export-progress.ts";
import { facts, table } from "./output.ts";

const time = (seconds: number): string => new Date(seconds * 1_000).toISOString();

/** The id that the API has for the export of a bag, which calls it by its UUID. */
export const exportIdOf = (uuid: string): string => `export-${uuid.replaceAll("-", "")}`;

export function exportText(state: ExportObject): string {
  const { bag, error, notice } = state;
  const pairs: [string, string][] = [
    ["id", state.id],
    ["state", stateOf(state)],
    ["format", state.compression === "none" ? state.format : `${state.format}, ${state.compression}`],
    ["asked for", time(state.created_at)],
  ];
  if (state.state === "running") pairs.push(["progress", amountsOf(state.progress).join(", ")]);
  if (bag !== null)
    pairs.push(
      ["rows", countText(state.progress.rows_done)],
      ["bag", `${bag.name}: ${countText(bag.files)} files, ${bytesText(bag.bytes)}`],
    );
  if (state.expires_at !== null)
    pairs.push([state.state === "expired" ? "expired" : "expires", time(state.expires_at)]);
  if (error !== null) pairs.push(["fault", error.message]);
  if (notice !== null) pairs.push(["notice", notice]);
  return facts(pairs);
}

export function exportsText(states: readonly ExportObject[]): string {
  return table(
    ["ID", "STATE", "ASKED FOR", "FORMAT", "SIZE", "EXPIRES"],
    states.map((state) => [
      state.id,
      stateOf(state),
      time(state.created_at),
      state.compression === "none" ? state.format : `${state.format}.${state.compression}`,
      state.bag === null ? "-" : bytesText(state.bag.bytes),
      state.expires_at === null ? "-" : time(state.expires_at),
    ]),
  );
}

function stateOf(state: ExportObject): string {
  return state.state === "running" ? `running: ${phaseOf(state)}` : state.state;
}
