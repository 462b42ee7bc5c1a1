// What a peer is: a real program (or file) that tests run against, where it may be already, how to tell that it is
// the right one, and how to get it. One file in peers/ describes one peer; registry.ts lists them.

/** Where a peer was found. Every path is absolute. */
export interface PeerPaths<File extends string = string> {
  readonly name: string;
  /** The version that it reports of itself. */
  readonly version: string;
  /** The folder that holds the files. */
  readonly folder: string;
  readonly files: Readonly<Record<File, string>>;
  readonly origin: "path" | "system" | "cache";
}

/** What getting a peer may use. */
export interface GetContext {
  /** Shows a line to the person who waits. */
  readonly progress: (line: string) => void;
}

/** How a peer is got when nothing on this machine has it. */
export type Source =
  /** Fills an empty folder, which is moved into the cache once `inspect` accepts it. */
  | { readonly kind: "cache"; readonly fill: (folder: string, context: GetContext) => Promise<void> }
  /** Changes the system, with its package manager. Afterwards the files are in one of `systemFolders`. */
  | { readonly kind: "system"; readonly install: (context: GetContext) => Promise<void> };

export interface Peer<File extends string = string> {
  /** As in `npm run peers <name>`; lower case with dashes. */
  readonly name: string;
  /** The version that `source` gives; part of the cache folder's name. */
  readonly version: string;
  /** One sentence: what tests use it for. */
  readonly about: string;
  /** What getting it costs, for people: size, time, where from. */
  readonly cost: string;
  /** Whether `npm run peers` without names gets it. */
  readonly byDefault: boolean;
  readonly provides: readonly File[];
  /** Folders outside PATH that often hold it, best first. */
  readonly systemFolders: readonly string[];
  /** Whether the folders of PATH are searched. */
  readonly onPath: boolean;
  /** Folder inside the peer's cache folder that holds the files; "." when they lie at its top. */
  readonly within: string;
  /**
   * The version of what lies in `folder`, or why it will not do. It says so without throwing, because most folders
   * that are looked into hold something else.
   */
  readonly inspect: (folder: string) => Promise<Inspection>;
  readonly source: Source;
}

export type Inspection =
  | { readonly ok: true; readonly version: string }
  | { readonly ok: false; readonly reason: string };

/** Keeps the literal names in `provides`, so that `files.psql` has a type. */
export function definePeer<const File extends string>(peer: Peer<File>): Peer<File> {
  return peer;
}
