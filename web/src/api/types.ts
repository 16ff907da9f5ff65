/** The API's objects by their short names; their shapes are generated from its OpenAPI document. */
import type { components, paths } from "./schema";

type Schemas = components["schemas"];

export type Run = Schemas["RunView"];
export type RunTest = Schemas["TestView"];
export type Phase = Schemas["PhaseView"];
export type Sample = Schemas["SampleView"];
export type Result = Schemas["ResultView"];
export type Stack = Schemas["StackView"];
export type StackState = Schemas["StateView"];
export type Repository = Schemas["RepositoryView"];
export type Ref = Schemas["RefView"];
export type Delivery = Schemas["DeliveryView"];
export type History = Schemas["HistoryView"];
export type Agent = Schemas["AgentView"];
export type Approval = Schemas["ApprovalView"];
export type Explanation = Schemas["ExplanationView"];
export type Decision = Schemas["DecisionView"];
export type StoredEvent = Schemas["EventView"];
export type Inventory = Schemas["InventoryView"];
export type Obligation = Schemas["ObligationView"];
export type LogLine = Schemas["LogLineView"];
export type Person = Schemas["PersonView"];
export type Problem = Schemas["Problem"];
export type RunStatus = NonNullable<NonNullable<paths["/api/v1/runs"]["get"]["parameters"]["query"]>["status"]>;

export interface Page<T> {
  items: T[];
  next?: string | null;
}

/** What `GET …/series` gives and the stream's `point` events carry. Units: milliseconds in the fields named so. */
export interface Point {
  sample: number;
  second: number;
  tps: number;
  latency_ms?: number | null;
  p95_ms?: number | null;
  errors?: number;
}

/** Parts that the API passes on as JSON, as the suite's and the policy's rooms write them. */
export interface ThresholdOutcome {
  metric: string;
  min?: number | null;
  max?: number | null;
  value?: number | null;
  lower?: number | null;
  verdict: string | null;
  evidence?: string;
}

export interface Comparison {
  metric: string;
  baseline?: number | null;
  candidate?: number | null;
  change_pct?: number | null;
  interval_pct?: [number, number] | null;
  pairs?: number | null;
  noise_pct?: number | null;
  decides?: boolean;
  verdict: string;
  reason?: string | null;
}

export interface Reason {
  policy: string;
  outcome: string;
  rule: string;
  text: string;
  needed?: number | null;
}
