// Exports over the HTTP API: a tenant's own with its admin key, or those of any tenant with the operator's.
import { type Compression, type PublicSigningKey, parseSigningKeys, type RowFormat } from "@ectus/bag";
import { type Api, strangeAnswer } from "./api-client.ts";

export type ExportState = "queued" | "running" | "ready" | "failed" | "expired";

/** An export as the API shows it; `--json` prints it as it came, with whatever else is in it. */
export interface ExportObject {
  readonly id: string;
  readonly object: "export";
  /** Seconds since 1970, as all times here. */
  readonly created_at: number;
  readonly format: RowFormat;
  readonly compression: Compression;
  readonly state: ExportState;
  readonly phase: string;
  readonly attempt: number;
  readonly progress: ExportProgressFacts;
  readonly finished_at: number | null;
  readonly expires_at: number | null;
  readonly notice: string | null;
  readonly bag: { readonly name: string; readonly bytes: number; readonly files: number } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export interface ExportProgressFacts {
  readonly rows_done: number;
  readonly rows_expected: number | null;
  readonly bytes_done: number;
  readonly bytes_expected: number | null;
  readonly rows_per_second: number | null;
  readonly bytes_per_second: number | null;
  readonly seconds_left: number | null;
}

/** What to export; what is left out is the server's to choose. */
export interface WantedExport {
  readonly format?: RowFormat;
  readonly compression?: Compression;
  readonly scope?: {
    readonly tables?: readonly string[];
    readonly files?: boolean;
    readonly audit_log?: boolean;
    readonly from?: string;
    readonly to?: string;
    readonly subject?: string;
  };
}

export interface ExportList {
  readonly data: readonly ExportObject[];
  readonly has_more: boolean;
}

export interface ExportClient {
  create(wanted: WantedExport, idempotencyKey: string, signal: AbortSignal): Promise<ExportObject>;
  get(id: string, signal: AbortSignal): Promise<ExportObject>;
  /** The newest first. */
  list(
    page: { readonly limit: number; readonly after?: string | undefined },
    signal: AbortSignal,
  ): Promise<ExportList>;
  remove(id: string, signal: AbortSignal): Promise<Readonly<Record<string, unknown>>>;
  /** The bag as a tar file, or the rest of it that the headers ask for. */
  download(id: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Response>;
  /** Keys that exports are signed with, or were. */
  signingKeys(signal: AbortSignal): Promise<readonly PublicSigningKey[]>;
}

const longestPage = 100;

/** @param tenantId whose, with the operator's key; undefined for those of the key's own tenant */
export function createExportClient(api: Api, tenantId?: string): ExportClient {
  const all = tenantId === undefined ? "/v1/exports" : `/admin/tenants/${tenantId}/exports`;
  const one = (id: string): string => `${all}/${encodeURIComponent(id)}`;
  const isExport = (value: unknown): value is ExportObject => {
    const { object, id, state, progress } = value as Partial<ExportObject>;
    return (
      object === "export" && typeof id === "string" && typeof state === "string" && progress !== undefined
    );
  };
  function checked<T>(value: unknown, fits: (value: object) => boolean): T {
    if (typeof value === "object" && value !== null && fits(value)) return value as T;
    throw strangeAnswer(api.url, 200, JSON.stringify(value));
  }
  return {
    async create(wanted, idempotencyKey, signal) {
      const headers = { "idempotency-key": idempotencyKey };
      return checked(await api.json(all, { method: "POST", body: wanted, headers, signal }), isExport);
    },
    async get(id, signal) {
      return checked(await api.json(one(id), { signal }), isExport);
    },
    async list({ limit, after }, signal) {
      const data: ExportObject[] = [];
      let hasMore = true;
      let last = after;
      while (hasMore && data.length < limit) {
        const size = Math.min(limit - data.length, longestPage);
        const from = last === undefined ? "" : `&after=${encodeURIComponent(last)}`;
        const page = checked<ExportList>(
          await api.json(`${all}?order=desc&limit=${size}${from}`, { signal }),
          (value) => Array.isArray((value as Partial<ExportList>).data),
        );
        data.push(...page.data);
        last = page.data.at(-1)?.id;
        hasMore = page.has_more && last !== undefined;
      }
      return { data, has_more: hasMore };
    },
    async remove(id, signal) {
      return checked(await api.json(one(id), { method: "DELETE", signal }), () => true);
    },
    download: (id, headers, signal) =>
      api.stream(`${one(id)}/download`, { headers: { accept: "application/x-tar", ...headers }, signal }),
    async signingKeys(signal) {
      return parseSigningKeys(JSON.stringify(await api.json("/v1/signing-keys", { signal })));
    },
  };
}
