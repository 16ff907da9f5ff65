/** What follows from a run's state. Pure. */
import type { Phase, Run, RunTest } from "../api/types";

const TERMINAL = new Set(["succeeded", "failed", "cancelled", "rejected", "superseded"]);

const BENCHMARK = [
  "reserve", "provision", "enrol", "database", "install", "prepare", "warmup", "measure", "collect", "compare",
  "teardown", "verify",
];
const ORDER: Record<string, readonly string[]> = {
  benchmark: BENCHMARK,
  deploy: ["plan", "approve", "apply", "outputs"],
  destroy: ["remove", "destroy", "verify"],
};

export function isOpen(status: string): boolean {
  return !TERMINAL.has(status);
}

/** The others are asked for anew: a plan by a push, a destroy by what is to be destroyed. */
export function canRerun(kind: string): boolean {
  return kind === "benchmark" || kind === "deploy";
}

export type PhaseSlot = { name: string; phase: Phase | null };

/** The phases in their order; while it is open also those still to come. */
export function slotsOf(kind: string, phases: readonly Phase[], open: boolean): PhaseSlot[] {
  const order = ORDER[kind] ?? [];
  const there = new Map(phases.map((phase) => [phase.name, phase]));
  const known = order.filter((name) => open || there.has(name)).map((name) => ({ name, phase: there.get(name) ?? null }));
  const others = phases.filter((phase) => !order.includes(phase.name)).map((phase) => ({ name: phase.name, phase }));
  return [...known, ...others];
}

export interface Bar {
  left: number;
  width: number;
}

/** Where a phase lies between the first start and the last end. Units: percent. */
export function barOf(phase: Phase, from: number, until: number, now: number): Bar {
  const whole = Math.max(until - from, 1);
  const start = Date.parse(phase.started_at);
  const end = phase.ended_at ? Date.parse(phase.ended_at) : now;
  const left = clamp(((start - from) / whole) * 100, 0, 100);
  return { left, width: clamp(((end - start) / whole) * 100, 0, 100 - left) };
}

/** From the first start to the last end, or to `now` while one runs. Units: milliseconds since 1970. */
export function extent(phases: readonly Phase[], now: number): [number, number] {
  const starts = phases.map((p) => Date.parse(p.started_at));
  const ends = phases.map((p) => (p.ended_at ? Date.parse(p.ended_at) : now));
  return phases.length === 0 ? [now, now] : [Math.min(...starts), Math.max(...ends)];
}

/** What the run holds now, or what became of it, as its phases and the inventory tell. Null when it created nothing. */
export function clearance(run: Run, held: number | null): string | null {
  if (isOpen(run.status)) return held ? `${held === 1 ? "1 thing" : `${held} things`} now, destroyed at its end` : null;
  const parts: { phases: Phase[] }[] = run.kind === "benchmark" ? run.tests : run.kind === "destroy" ? [run] : [];
  const began = parts.filter((part) => part.phases.some((p) => p.name !== "reserve"));
  if (began.length === 0) return null;
  const verified = began.filter(isVerified).length;
  const what = run.kind === "destroy" ? (verified > 0 ? "all, and verified" : "not verified")
    : `${verified} of ${began.length} ${began.length === 1 ? "test" : "tests"}, verified`;
  if (held === null) return what;
  return `${what}; ${held === 0 ? "nothing of this run is left" : `${held} of its things still exist`}`;
}

function isVerified(part: { phases: Phase[] }): boolean {
  return part.phases.some((p) => p.name === "verify" && p.status === "succeeded");
}

const VERDICTS = ["invalid", "fail", "worse", "inconclusive", "better", "same", "pass"];

/** Verdicts with those that weigh most first. */
export function bySeverity(verdicts: readonly (string | null)[]): (string | null)[] {
  return [...verdicts].sort((a, b) => VERDICTS.indexOf(a ?? "") - VERDICTS.indexOf(b ?? ""));
}

/** How many tests have a valid result. */
export function measured(tests: readonly RunTest[]): number {
  return tests.filter((test) => test.verdict !== null && test.verdict !== "invalid").length;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
