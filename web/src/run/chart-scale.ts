/** From points to where they are drawn. Pure. */
import type { Point } from "../api/types";

export interface Placed {
  /** Its place in the row of all samples. Units: seconds. */
  x: number;
  point: Point;
}

export interface Stretch {
  sample: number;
  from: number;
  until: number;
  points: Placed[];
}

/** Samples side by side in their order, each from its own first second, one second apart. */
export function stretches(points: readonly Point[]): Stretch[] {
  const bySample = new Map<number, Point[]>();
  for (const point of points) bySample.set(point.sample, [...(bySample.get(point.sample) ?? []), point]);
  const found: Stretch[] = [];
  let at = 0;
  for (const [sample, own] of [...bySample].sort(([a], [b]) => a - b)) {
    const sorted = [...own].sort((a, b) => a.second - b.second);
    const first = sorted[0]?.second ?? 0;
    const placed = sorted.map((point) => ({ x: at + point.second - first, point }));
    const until = placed.at(-1)?.x ?? at;
    found.push({ sample, from: at, until, points: placed });
    at = until + 1;
  }
  return found;
}

/** Round steps for an axis from zero. Shape: rising, first 0, last at or above `top`. */
export function ticks(top: number, wanted = 4): number[] {
  if (!(top > 0)) return [0, 1];
  const raw = top / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 2.5, 5].find((m) => m * power >= raw * 0.999) ?? 10) * power;
  const count = Math.ceil((top / step) * 0.9999);
  return Array.from({ length: Math.max(count, 1) + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

export type Measure = (point: Point) => number | null | undefined;

/** The line of one measure; a second without a value, or a missing second, breaks it. */
export function linePath(placed: readonly Placed[], of: Measure, x: (x: number) => number, y: (y: number) => number): string {
  let path = "";
  let before: number | null = null;
  for (const { x: at, point } of placed) {
    const value = of(point);
    if (value === null || value === undefined) {
      before = null;
      continue;
    }
    path += `${before !== null && at - before <= 1 ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    before = at;
  }
  return path;
}

export function nearest(found: readonly Stretch[], x: number): Placed | null {
  let best: Placed | null = null;
  for (const stretch of found) {
    for (const placed of stretch.points) if (best === null || Math.abs(placed.x - x) < Math.abs(best.x - x)) best = placed;
  }
  return best;
}

export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}
