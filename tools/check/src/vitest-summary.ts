// Counts the tests in Vitest's JSON report. A file that failed without a failed test (it could not be loaded, or a
// hook threw) counts as one failure, and so does a report that is missing or broken.

export interface Summary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly success: boolean;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

export function summarize(json: string): Summary {
  const report = parse(json);
  if (report === undefined) return { passed: 0, failed: 1, skipped: 0 };
  const brokenFiles = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  ).length;
  const failed = report.numFailedTests + brokenFiles;
  return {
    passed: report.numPassedTests,
    failed,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

function parse(json: string): Report | undefined {
  try {
    const value = JSON.parse(json) as Partial<Report> | null;
    return typeof value?.numPassedTests === "number" && Array.isArray(value.testResults)
      ? (value as Report)
      : undefined;
  } catch {
    return undefined;
  }
}
