import { describe, expect, it } from "vitest";

import { cellText, duration, measuredHow, number, percent, relative, span, tally, words } from "./format";

describe("number", () => {
  it("groups large ones and rounds small ones", () => {
    expect([40_963.4, 999.6, 12.345, 0.012_34, 7, 0].map(number)).toEqual(["40,963", "1,000", "12.3", "0.0123", "7", "0"]);
  });
  it("shows a dash for what is not there", () => {
    expect([null, undefined, NaN, Infinity].map(number)).toEqual(["–", "–", "–", "–"]);
  });
});

describe("percent", () => {
  it("carries its sign, and zero none", () => {
    expect([-9.84, 2.31, 0.02, -0.02].map(percent)).toEqual(["-9.8%", "+2.3%", "0.0%", "0.0%"]);
  });
});

describe("duration", () => {
  it("uses two units at most", () => {
    expect([0.42, 9.94, 9.96, 59.6, 3130, 3780, 187_200].map(duration)).toEqual(["0.4s", "9.9s", "10s", "1m 00s", "52m 10s", "1h 03m", "2d 4h"]);
  });
  it("never shows a negative time, as clocks differ", () => {
    expect(duration(-3)).toBe("0.0s");
  });
});

describe("span", () => {
  const from = "2026-01-01T00:00:00.000Z";
  it("ends where it ended, else now", () => {
    expect(span(from, "2026-01-01T00:00:10.000Z", 0)).toBe(10);
    expect(span(from, null, Date.parse(from) + 2500)).toBe(2.5);
    expect(span(null, null, 0)).toBeNull();
  });
});

describe("relative", () => {
  const now = Date.parse("2026-01-01T12:00:00.000Z");
  it("tells past and future in one unit", () => {
    expect(relative("2026-01-01T11:59:58.000Z", now)).toBe("now");
    expect(relative("2026-01-01T11:15:00.000Z", now)).toBe("45 min ago");
    expect(relative("2026-01-03T12:00:00.000Z", now)).toBe("in 2 d");
  });
});

it("counts verdicts in the order they come", () => {
  expect(tally(["worse", null, "same", "worse"])).toBe("2 worse, 1 same");
});

it("writes names and cells as words", () => {
  expect(words("tearing_down")).toBe("tearing down");
  expect(cellText({ shared_buffers: "2GB", pool: 32 })).toBe("shared_buffers=2GB pool=32");
});

it("says how a baseline was measured in a sentence", () => {
  expect(["separate", "interleaved", null].map(measuredHow)).toEqual(["measured in a run of its own", "interleaved", null]);
});
