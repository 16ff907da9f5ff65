import { describe, expect, it } from "vitest";

import { linePath, mean, nearest, stretches, ticks } from "./chart-scale";

function points(sample: number, ...seconds: number[]) {
  return seconds.map((second) => ({ sample, second, tps: 10 * second + sample }));
}

describe("stretches", () => {
  it("puts samples side by side in their order, each from its own beginning", () => {
    const found = stretches([...points(2, 7, 8), ...points(1, 3, 1, 2)]);
    expect(found.map((s) => [s.sample, s.from, s.until])).toEqual([[1, 0, 2], [2, 3, 4]]);
    expect(found.flatMap((s) => s.points.map((p) => p.x))).toEqual([0, 1, 2, 3, 4]);
  });
  it("has nothing to say about nothing", () => {
    expect(stretches([])).toEqual([]);
    expect([nearest([], 3), mean([])]).toEqual([null, null]);
  });
});

describe("ticks", () => {
  it("are round, from zero to above the top", () => {
    expect(ticks(812)).toEqual([0, 250, 500, 750, 1000]);
    expect(ticks(0.9, 2)).toEqual([0, 0.5, 1]);
    expect(ticks(0)).toEqual([0, 1]);
  });
  it("cover every top with few steps", () => {
    for (let top = 0.001; top < 1e7; top *= 1.37) {
      const found = ticks(top);
      expect(found.at(-1)).toBeGreaterThanOrEqual(top * 0.999);
      expect(found.length).toBeLessThanOrEqual(6);
    }
  });
});

describe("linePath", () => {
  const same = (value: number) => value;
  it("breaks where a second or a value is missing", () => {
    const [stretch] = stretches([...points(1, 0, 1, 4), { sample: 1, second: 5, tps: NaN }]);
    const path = linePath(stretch?.points ?? [], (p) => (Number.isNaN(p.tps) ? null : p.tps), same, same);
    expect(path).toBe("M0.0 1.0L1.0 11.0M4.0 41.0");
  });
});

it("finds the nearest second over all samples", () => {
  expect(nearest(stretches([...points(1, 0, 1), ...points(2, 0, 1)]), 2.4)?.point).toEqual({ sample: 2, second: 0, tps: 2 });
});
