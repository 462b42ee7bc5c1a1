export {
  type AlertMatcher,
  type AlertmanagerConfig,
  type Inhibition,
  inhibits,
  matches,
  parseAlertmanagerConfig,
  type Route,
  routesOf,
} from "./alertmanager-config.ts";
export {
  addPagerDuty,
  type DrillSettings,
  shortenAlertmanagerConfig,
} from "./alertmanager-config-variants.ts";
export { fileNameOf } from "./chain/alert-labels.ts";
export { checkChain } from "./chain/chain.ts";
export { renderObjectiveRules } from "./objective.ts";
export { type Expression, parseExpression, type Selector } from "./promql.ts";
export {
  type AlertRule,
  type RecordingRule,
  type Rule,
  type RuleFile,
  type RuleGroup,
  readRuleFile,
} from "./rule-files.ts";
export { type ShorteningFactors, shortenExpression, shortenRules } from "./shorten.ts";
export { type Fault, formatFault } from "./yaml-positions.ts";
