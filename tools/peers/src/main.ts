// npm run peers: reads the command line, gets or lists peers, prints what was found where.
import { parseArgs } from "node:util";
import { errorMessage } from "@ectus/core";
import { locate } from "./find.ts";
import { getPeer, mapWithin, type PeerOutcome } from "./get.ts";
import type { Peer } from "./peer.ts";
import { isPeerName, type PeerName, peerNames, peers } from "./registry.ts";

const help = `Gets the real programs that tests run against into a cache outside the checkout.

Usage: npm run peers [names…]          get these; without names: all that tests need
       npm run peers -- --list         show what is found where, get nothing
       npm run peers -- --json         print the outcome as one JSON object

The cache is $ECTUS_PEERS_CACHE, else $XDG_CACHE_HOME/ectus/peers, else ~/.cache/ectus/peers.
Exit status: 0 done, 1 a peer could not be had, 2 used wrongly.

Peers:
${peerNames.map((name) => `  ${name.padEnd(20)} ${peers[name].about}${peers[name].byDefault ? "" : " (only when named)"}`).join("\n")}
`;

// Downloads are light on the processor, builds are not; two keep a small machine usable.
const atOnce = 2;

interface Request {
  readonly names: readonly PeerName[];
  readonly list: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const request = parse(args);
  if (typeof request === "string") {
    process.stderr.write(`peers: ${request}\nTry: npm run peers -- --help\n`);
    return 2;
  }
  if (request.help) {
    process.stdout.write(help);
    return 0;
  }
  const outcomes = await mapWithin(atOnce, request.names, async (name) => ({
    name,
    outcome: request.list ? await look(peers[name]) : await getPeer(peers[name], process.env, show),
  }));
  process.stdout.write(request.json ? asJson(outcomes) : asTable(outcomes));
  return outcomes.some(({ outcome }) => outcome.state === "failed") ? 1 : 0;
}

function parse(args: readonly string[]): Request | string {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        list: { type: "boolean" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
    const { list = false, json = false, help: wantsHelp = false } = values;
    const unknown = positionals.filter((name) => !isPeerName(name));
    if (unknown.length > 0) {
      return `no peer is called ${unknown.join(", ")}. Peers are: ${peerNames.join(", ")}.`;
    }
    const all = list ? peerNames : peerNames.filter((name) => peers[name].byDefault);
    const names = positionals.length > 0 ? [...new Set(positionals.filter(isPeerName))] : all;
    return { names, list, json, help: wantsHelp };
  } catch (error) {
    return errorMessage(error);
  }
}

async function look(peer: Peer): Promise<PeerOutcome> {
  const paths = await locate(peer, process.env);
  return paths === undefined ? { state: "missing" } : { state: "found", paths, seconds: 0 };
}

type Named = { readonly name: PeerName; readonly outcome: PeerOutcome };

function asJson(outcomes: readonly Named[]): string {
  return `${JSON.stringify({ peers: outcomes.map(({ name, outcome }) => ({ name, ...outcome })) }, null, 2)}\n`;
}

function asTable(outcomes: readonly Named[]): string {
  return outcomes
    .map(({ name, outcome }) => {
      const where =
        outcome.state === "missing"
          ? `get it with: npm run peers ${name}`
          : outcome.state === "failed"
            ? "see above"
            : `${outcome.paths.version}  ${outcome.paths.folder}`;
      return `${name.padEnd(20)} ${outcome.state.padEnd(8)} ${where}\n`;
    })
    .join("");
}

function show(line: string): void {
  process.stderr.write(line);
}
