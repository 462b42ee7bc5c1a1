// Downloads a file so that what is cut off goes on where it was: into `<name>.part`, beside a note of which version
// that is the beginning of, and only when all of it is there under its own name.
import { type FileHandle, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { errorMessage } from "@ectus/core";
import { ApiFault, networkReason, strangeAnswer } from "./api-client.ts";
import { fileFault } from "./file-fault.ts";

export interface DownloadOptions {
  /** Where the file is to be. */
  readonly path: string;
  /** What is downloaded, in a form that is the same the next time. */
  readonly source: string;
  /** Asks for all of it, or with `Range` and `If-Range` for the rest. Throws an `ApiFault` for what is no 2xx. */
  readonly request: (headers: Readonly<Record<string, string>>, signal: AbortSignal) => Promise<Response>;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: { readonly bytes: number; readonly totalBytes: number }) => void;
  /** Called with what a person should know, in a sentence. */
  readonly onNote: (text: string) => void;
  readonly pauses?: DownloadPauses;
}

export interface DownloadPauses {
  readonly firstMs: number;
  readonly longestMs: number;
  /** Tries in a row that bring nothing new. */
  readonly mostTries: number;
  /** How long a connection may bring nothing. */
  readonly idleMs: number;
}

export interface Downloaded {
  readonly bytes: number;
  /** How much of it was there from an earlier download. */
  readonly resumedFrom: number;
}

/** What `.part.json` says. */
interface PartNote {
  readonly source: string;
  readonly etag: string;
  readonly bytes: number;
}

const usualPauses: DownloadPauses = { firstMs: 1_000, longestMs: 30_000, mostTries: 8, idleMs: 60_000 };
const mostRestarts = 3;

export const partOf = (path: string): string => `${path}.part`;
const noteOf = (path: string): string => `${path}.part.json`;

/** @throws CommandFault when it cannot be had or not be written; what is there stays for the next time */
export async function downloadFile(options: DownloadOptions): Promise<Downloaded> {
  const { path, source, request, signal, onProgress, onNote, pauses = usualPauses } = options;
  const found = await findPart(path, source);
  await using part = await openPart(path, found !== undefined);
  let note = found?.note;
  let position = found?.position ?? 0;
  let furthest = position;
  let restarts = 0;
  let tries = 0;

  /** One request and what comes of it. */
  async function takeMore(): Promise<void> {
    const canGoOn = note !== undefined && position > 0;
    using connection = limitIdle(signal, pauses.idleMs);
    const headers = canGoOn ? { range: `bytes=${position}-`, "if-range": note?.etag ?? "" } : {};
    const response = await request(headers, connection.signal).catch((error) => {
      // Whoever asks for it sees no difference between the two signals.
      throw connection.signal.aborted ? cutOff(errorMessage(connection.signal.reason)) : error;
    });
    const answer = readHead(response, source);
    if (answer.start !== position && answer.start !== 0)
      throw strangeAnswer(source, response.status, `a range from ${answer.start} in place of ${position}`);
    if (answer.start === 0 && position > 0) {
      onNote(
        answer.etag === note?.etag
          ? "The server does not go on where it was; starting over."
          : "It has changed on the server; starting over.",
      );
      await startOver();
    }
    if (position === 0) {
      note = await writeNote(path, source, answer);
    } else if (answer.etag !== note?.etag || answer.totalBytes !== note?.bytes) {
      throw strangeAnswer(source, response.status, "a part of another version");
    }
    const { totalBytes } = answer;
    onProgress({ bytes: position, totalBytes });
    for await (const chunk of chunksOf(response, connection)) {
      if (position + chunk.length > totalBytes)
        throw strangeAnswer(source, response.status, `more than the ${totalBytes} bytes that it named`);
      await onDisk(path, () => writeAll(part, chunk, position));
      position += chunk.length;
      onProgress({ bytes: position, totalBytes });
    }
    if (position < totalBytes) throw cutOff(`it ended after ${position} of ${totalBytes} bytes`);
    note = { source, etag: answer.etag ?? "", bytes: totalBytes };
  }

  async function startOver(): Promise<void> {
    restarts += 1;
    if (restarts > mostRestarts)
      throw new ApiFault("It changes on the server all the time; the download is given up.", {
        code: "download_changing",
      });
    position = 0;
    await onDisk(path, () => part.truncate(0));
  }

  while (note === undefined || position !== note.bytes) {
    try {
      await takeMore();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ApiFault)) throw error;
      if (error.status === 416 && position > 0) {
        await startOver();
        continue;
      }
      if (!error.passing) throw error;
      if (position > furthest) tries = 0;
      furthest = Math.max(furthest, position);
      tries += 1;
      if (tries > pauses.mostTries) throw givenUp(error, position);
      const pauseMs = Math.min(
        Math.max(pauses.firstMs * 2 ** (tries - 1), error.retryAfterMs ?? 0),
        pauses.longestMs,
      );
      onNote(`${error.message} Going on from ${(position / 1e6).toFixed(1)} MB in a moment.`);
      await delay(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
  await onDisk(path, () => finish(part, path, position));
  return { bytes: position, resumedFrom: found?.position ?? 0 };
}

/** What an earlier download left, if it is of the same thing. */
async function findPart(
  path: string,
  source: string,
): Promise<{ note: PartNote; position: number } | undefined> {
  try {
    const note = JSON.parse(await readFile(noteOf(path), "utf8")) as PartNote;
    const { size } = await stat(partOf(path));
    const fits =
      note.source === source && typeof note.etag === "string" && note.etag !== "" && size <= note.bytes;
    return fits ? { note, position: size } : undefined;
  } catch {
    // None, or one that nobody can go on with.
    return undefined;
  }
}

/** Others on this machine have no business with what a tenant takes out. */
const privateMode = 0o600;

const openPart = (path: string, goesOn: boolean): Promise<FileHandle> =>
  onDisk(path, () => open(partOf(path), goesOn ? "r+" : "w", privateMode));

/** What it cannot go on from is not noted. */
async function writeNote(
  path: string,
  source: string,
  { etag, totalBytes }: Head,
): Promise<PartNote | undefined> {
  if (etag === undefined) {
    await onDisk(path, () => rm(noteOf(path), { force: true }));
    return undefined;
  }
  const note = { source, etag, bytes: totalBytes };
  await onDisk(path, () => writeFile(noteOf(path), `${JSON.stringify(note)}\n`, { mode: privateMode }));
  return note;
}

interface Head {
  readonly start: number;
  readonly totalBytes: number;
  /** A strong one (RFC 9110, section 8.8.1): only with that a range is sure to be of the same bytes. */
  readonly etag: string | undefined;
}

function readHead({ status, headers }: Response, source: string): Head {
  const given = headers.get("etag") ?? "";
  const etag = /^"[^"]*"$/.test(given) ? given : undefined;
  const encoding = headers.get("content-encoding") ?? "identity";
  const [, start, total] =
    status === 206
      ? (/^bytes (\d{1,15})-\d{1,15}\/(\d{1,15})$/.exec(headers.get("content-range") ?? "") ?? [])
      : (/^()(\d{1,15})$/.exec(headers.get("content-length") ?? "") ?? []);
  if ((status !== 200 && status !== 206) || encoding !== "identity" || start === undefined)
    throw strangeAnswer(source, status, "no file whose length is known");
  return { start: Number(start), totalBytes: Number(total), etag };
}

interface Connection extends Disposable {
  readonly signal: AbortSignal;
  /** Called whenever something came. */
  readonly alive: () => void;
}

/** Ends a connection that brings nothing. */
function limitIdle(signal: AbortSignal, idleMs: number): Connection {
  const idle = new AbortController();
  const timer = setTimeout(() => idle.abort(new Error(`nothing came for ${idleMs / 1_000} seconds`)), idleMs);
  return {
    signal: AbortSignal.any([signal, idle.signal]),
    alive: () => void timer.refresh(),
    [Symbol.dispose]() {
      clearTimeout(timer);
      // What is still on its way would come for nobody.
      idle.abort();
    },
  };
}

async function* chunksOf({ body }: Response, { alive, signal }: Connection): AsyncGenerator<Uint8Array> {
  if (body === null) return;
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw cutOff(signal.aborted ? errorMessage(signal.reason) : networkReason(error));
      });
      if (done) return;
      alive();
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

const cutOff = (reason: string): ApiFault =>
  new ApiFault(`The connection broke: ${reason}.`, { code: "download_interrupted" });

function givenUp(error: ApiFault, position: number): ApiFault {
  const here = position > 0 ? `; ${position} bytes are here, and the same download goes on from them` : "";
  return new ApiFault(
    `${error.message} Given up for now${here}.`,
    { code: error.code, status: error.status },
    { cause: error },
  );
}

/** At a place of its own, so that two downloads of the same do each other no harm. */
async function writeAll(part: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < chunk.length) {
    const { bytesWritten } = await part.write(chunk, written, chunk.length - written, position + written);
    written += bytesWritten;
  }
}

async function finish(part: FileHandle, path: string, bytes: number): Promise<void> {
  const { size } = await part.stat();
  if (size !== bytes) throw new Error(`${basename(partOf(path))} has ${size} bytes in place of ${bytes}`);
  await part.sync();
  await rename(partOf(path), path);
  await rm(noteOf(path), { force: true });
  await using folder = await open(dirname(path));
  // Not every file system can do this for a folder; the file itself is safe.
  await folder.sync().catch(() => {});
}

async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileFault(error, partOf(path));
  }
}
