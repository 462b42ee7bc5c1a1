// A log file of a container as the kubelet keeps it: each line with its time, stream, and whether it goes on.
// https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
import { appendFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";

export interface ContainerLog {
  readonly file: string;
  /** Appends lines, with their line feeds, that a container has printed now. */
  append(stream: "stdout" | "stderr", text: string): Promise<void>;
}

export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly container: string;
}

// What a runtime reads at once; longer lines are kept in parts.
const partBytes = 16 * 1024;

/** @param folder what /var/log/pods is on a node */
export async function openContainerLog(folder: string, pod: Pod): Promise<ContainerLog> {
  const file = join(folder, `${pod.namespace}_${pod.name}_${pod.uid}`, pod.container, "0.log");
  await mkdir(dirname(file), { recursive: true });
  return {
    file,
    async append(stream, text) {
      const now = new Date().toISOString().replace("Z", "123456Z");
      const lines = text.split("\n").slice(0, -1);
      await appendFile(file, lines.flatMap((line) => inParts(line).map(entry)).join(""), "latin1");
      function entry(part: string, index: number, parts: readonly string[]): string {
        return `${now} ${stream} ${index === parts.length - 1 ? "F" : "P"} ${part}\n`;
      }
    },
  };
}

// By bytes, also within a character: each byte is a character of its own here.
function inParts(line: string): string[] {
  const bytes = Buffer.from(line);
  const parts: string[] = [];
  for (let from = 0; from < bytes.length || parts.length === 0; from += partBytes)
    parts.push(bytes.toString("latin1", from, from + partBytes));
  return parts;
}
