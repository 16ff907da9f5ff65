import { describe, expect, it } from "vitest";

import type { Phase, Run } from "../api/types";
import { barOf, bySeverity, clearance, extent, isOpen, slotsOf } from "./state";

const T0 = Date.parse("2026-01-01T00:00:00.000Z");

function phase(name: string, from: number, until: number | null, status = "succeeded"): Phase {
  return { name, status, started_at: new Date(T0 + from * 1000).toISOString(), ended_at: until === null ? null : new Date(T0 + until * 1000).toISOString(), iterations: 1 };
}

function benchmark(...tests: Phase[][]): Run {
  return { kind: "benchmark", status: "succeeded", phases: [], tests: tests.map((phases) => ({ phases })) } as unknown as Run;
}

it("knows the five ends", () => {
  expect(["succeeded", "failed", "cancelled", "rejected", "superseded"].some(isOpen)).toBe(false);
  expect(["queued", "awaiting_approval", "tearing_down"].every(isOpen)).toBe(true);
});

describe("slotsOf", () => {
  const phases = [phase("measure", 5, 9), phase("reserve", 0, 1), phase("soothe", 9, 10)];
  it("orders what there is, with unknown phases last", () => {
    expect(slotsOf("benchmark", phases, false).map((s) => s.name)).toEqual(["reserve", "measure", "soothe"]);
  });
  it("shows what is still to come only while open", () => {
    const open = slotsOf("deploy", [phase("plan", 0, 1)], true);
    expect(open.map((s) => [s.name, s.phase !== null])).toEqual([["plan", true], ["approve", false], ["apply", false], ["outputs", false]]);
  });
});

describe("bars", () => {
  const now = T0 + 20_000;
  it("lie on the time from the first start to now", () => {
    const phases = [phase("reserve", 0, 5), phase("measure", 10, null, "running")];
    const [from, until] = extent(phases, now);
    expect(phases.map((p) => barOf(p, from, until, now))).toEqual([{ left: 0, width: 25 }, { left: 50, width: 50 }]);
  });
  it("stay inside, even when clocks differ", () => {
    const late = barOf(phase("measure", 25, null), T0, T0 + 20_000, now);
    expect(late).toEqual({ left: 100, width: 0 });
  });
});

describe("clearance", () => {
  const done = [phase("provision", 0, 1), phase("verify", 8, 9)];
  it("is silent while nothing was created", () => {
    expect(clearance(benchmark([phase("reserve", 0, 1)], []), 0)).toBeNull();
    expect(clearance({ ...benchmark(done), status: "running" }, 0)).toBeNull();
  });
  it("tells what an open run holds", () => {
    expect(clearance({ ...benchmark(done), status: "running" }, 2)).toBe("2 things now, destroyed at its end");
  });
  it("counts verified tests and what is left", () => {
    expect(clearance(benchmark(done, [phase("provision", 0, 1)]), 2)).toBe("1 of 2 tests, verified; 2 of its things still exist");
    expect(clearance(benchmark(done), 0)).toBe("1 of 1 test, verified; nothing of this run is left");
  });
  it("does not take a failed verify for a verified one", () => {
    expect(clearance(benchmark([phase("provision", 0, 1), phase("verify", 8, 9, "failed")]), null)).toBe("0 of 1 test, verified");
  });
});

it("puts the verdicts that weigh most first", () => {
  expect(bySeverity(["pass", "inconclusive", "worse", "invalid"])).toEqual(["invalid", "worse", "inconclusive", "pass"]);
});
