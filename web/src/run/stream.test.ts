import { describe, expect, it } from "vitest";

import type { Phase, Run, RunTest } from "../api/types";
import { LOG_KEPT, NOTHING_YET, advance, parse, type ServerEvent } from "./stream";

function event(name: string, data: unknown, id = "0.0"): ServerEvent {
  return { id, name, data: JSON.stringify(data) };
}

function phase(name: string, status: string): Phase {
  return { name, status, started_at: "2026-01-01T00:00:00.000Z", ended_at: null, iterations: 1 };
}

function run(status: string): Run {
  return { id: "r", status, kind: "benchmark", phases: [], tests: [{ name: "tpcb", phases: [phase("reserve", "succeeded")] } as unknown as RunTest] } as unknown as Run;
}

function point(sample: number, second: number, tps = 100) {
  return event("point", { test: "tpcb", sample, second, tps, at: "2026-01-01T00:00:00.000Z" });
}

function line(id: number) {
  return event("log", { id: String(id), text: `line ${id}`, test: "", level: "info", source: "s", n: id, run_id: "r", at: "2026-01-01T00:00:00.000Z" });
}

describe("parse", () => {
  const sent = "retry: 1000\n\n: alive\n\nid: 3.4\nevent: progress\ndata: {\"percent\": 7}\n\nevent: log\ndata: a\ndata: b\n\n";

  it("gives whole events and keeps what is not whole", () => {
    const { events, rest } = parse(`${sent}id: 4.4\neve`);
    expect(events).toEqual([{ id: "3.4", name: "progress", data: '{"percent": 7}' }, { id: "", name: "log", data: "a\nb" }]);
    expect(rest).toBe("id: 4.4\neve");
  });

  it("finds the same events wherever the network cuts", () => {
    const all = parse(sent).events;
    for (let cut = 0; cut <= sent.length; cut++) {
      const first = parse(sent.slice(0, cut));
      expect([...first.events, ...parse(first.rest + sent.slice(cut)).events]).toEqual(all);
    }
  });
});

describe("advance", () => {
  it("places phases in their test and replaces what they were", () => {
    const live = advance(NOTHING_YET, [event("run", run("running")), event("phase", { test: "tpcb", ...phase("measure", "running") }), event("phase", { test: "tpcb", ...phase("measure", "failed") })]);
    expect(live.run?.tests[0]?.phases.map((p) => [p.name, p.status])).toEqual([["reserve", "succeeded"], ["measure", "failed"]]);
  });

  it("does not change by being told twice, as after a connection that began anew", () => {
    const told = [event("run", run("running")), point(1, 1), point(1, 0), point(2, 0), line(5), line(6)];
    const once = advance(NOTHING_YET, told);
    const twice = advance(once, told);
    expect(twice.points.get("tpcb")?.map((p) => [p.sample, p.second])).toEqual([[1, 0], [1, 1], [2, 0]]);
    expect(twice.log.map((l) => l.id)).toEqual(["5", "6"]);
  });

  it("keeps the newest lines and counts the others", () => {
    const all = Array.from({ length: LOG_KEPT + 7 }, (_, i) => line(i + 1));
    const live = advance(advance(NOTHING_YET, all.slice(0, 1500)), all.slice(1500));
    expect([live.log.length, live.logDropped, live.log[0]?.id]).toEqual([LOG_KEPT, 7, "8"]);
  });

  it("keeps the speed while its phase lasts, not longer", () => {
    const measuring = { percent: 50, phase: "measure", test: "tpcb" };
    const live = advance(NOTHING_YET, [event("progress", { ...measuring, tps: 812 }), event("progress", { ...measuring, tps: null })]);
    expect(live.progress?.tps).toBe(812);
    expect(advance(live, [event("progress", { ...measuring, phase: "collect", tps: null })]).progress?.tps).toBeNull();
  });

  it("ends with the run as it ended", () => {
    const live = advance(NOTHING_YET, [event("run", run("running")), event("end", run("succeeded"))]);
    expect([live.ended, live.run?.status]).toEqual([true, "succeeded"]);
  });

  it("leaves what it was given untouched", () => {
    const before = advance(NOTHING_YET, [point(1, 0)]);
    advance(before, [point(1, 1), line(1)]);
    expect([before.points.get("tpcb")?.length, before.log.length]).toEqual([1, 0]);
  });
});
