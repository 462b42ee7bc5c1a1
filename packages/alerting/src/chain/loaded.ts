// That Prometheus and Alertmanager are given the files: one that the kustomization leaves out is never loaded, and says
// nothing.
import { isMap, isSeq } from "yaml";
import type { RuleFile } from "../rule-files.ts";
import type { Fault } from "../yaml-positions.ts";
import type { ChainContext } from "./chain-context.ts";
import { alertmanagerFolder, rulesFolder } from "./chain-files.ts";

const kustomization = `${rulesFolder}/kustomization.yaml`;

export function checkLoaded({ files }: ChainContext, ruleFiles: readonly RuleFile[]): readonly Fault[] {
  const parsed = files.get(kustomization)?.yaml();
  if (parsed === undefined)
    return [{ path: kustomization, line: 1, message: "The kustomization is not there. Add the file." }];
  if (parsed.faults.length > 0) return parsed.faults;
  const { root } = parsed.file;
  const generators = isMap(root) ? root.get("configMapGenerator") : undefined;
  const filesOf = (name: string): readonly string[] => {
    const items = isSeq(generators) ? generators.items.filter(isMap) : [];
    const list = items.find((item) => item.get("name") === name)?.get("files");
    return isSeq(list) ? list.items.map(String) : [];
  };
  const templates = [...files.keys()].filter(
    (path) => path.startsWith(`${alertmanagerFolder}/`) && path.endsWith(".tmpl"),
  );
  const rules = ruleFiles.map(({ source }) => source.path);
  const unchecked = filesOf("prometheus-rules").filter((file) => !rules.includes(`${rulesFolder}/${file}`));
  return [
    ...unchecked.map((file) => ({
      path: kustomization,
      line: 1,
      message: `${file} is loaded, but is no rule file right in ${rulesFolder}, so nothing checks it. Move it there.`,
    })),
    ...lacking("prometheus-rules", filesOf("prometheus-rules"), rules),
    ...lacking("alertmanager-templates", filesOf("alertmanager-templates"), templates),
  ];
}

function lacking(configMap: string, loaded: readonly string[], paths: readonly string[]): readonly Fault[] {
  return paths
    .map((path) => path.slice(rulesFolder.length + 1))
    .filter((file) => !loaded.includes(file))
    .map((file) => ({
      path: kustomization,
      line: 1,
      message: `Nothing loads ${file}. Add it to the files of ${configMap}.`,
    }));
}
