// What a process of bench/metrics.ts measures.

/** What one process measured. */
export type Measured =
  | { readonly task: "update"; readonly ns: Readonly<Record<UpdateName, number | null>> }
  | {
      readonly task: "scrape";
      readonly cpuMs: number;
      readonly wallMs: number;
      readonly stallMs: number;
      readonly bytes: number;
    }
  | { readonly task: "memory"; readonly bytesPerCounter: number; readonly bytesPerHistogram: number };

export const updateNames = ["observe", "keptObserve", "inc", "keptInc"] as const;
export type UpdateName = (typeof updateNames)[number];
