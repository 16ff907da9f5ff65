/** Values as people read them. Pure. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Three significant digits below a thousand, whole and grouped above. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 999.5 || Number.isInteger(value)) return whole.format(value);
  return String(Number(value.toPrecision(3)));
}

/** A change with its sign. Units: percent. */
export function percent(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const rounded = value.toFixed(1);
  return `${value > 0 && rounded !== "0.0" ? "+" : ""}${rounded === "-0.0" ? "0.0" : rounded}%`;
}

/** Units: seconds in; `52m 10s`, `1h 03m`, `2d 4h`, `0.4s` out. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 9.95) return `${s.toFixed(1)}s`;
  const all = Math.round(s);
  if (all < 60) return `${all}s`;
  if (all < 3600) return `${Math.floor(all / 60)}m ${pad(all % 60)}s`;
  if (all < 86_400) return `${Math.floor(all / 3600)}h ${pad(Math.floor((all % 3600) / 60))}m`;
  return `${Math.floor(all / 86_400)}d ${Math.floor((all % 86_400) / 3600)}h`;
}

/** Seconds between two moments; `until` defaults to `now` while something runs. Null before it started. */
export function span(from: string | null | undefined, until: string | null | undefined, now: number): number | null {
  if (!from) return null;
  return ((until ? Date.parse(until) : now) - Date.parse(from)) / 1000;
}

/** How long ago, or how long until: one unit, as nobody needs two. */
export function relative(at: string, now: number): string {
  const seconds = Math.round((Date.parse(at) - now) / 1000);
  const size = Math.abs(seconds);
  if (size < 5) return "now";
  const [n, unit] = size < 60 ? [size, "s"] : size < 3600 ? [Math.round(size / 60), "min"]
    : size < 86_400 ? [Math.round(size / 3600), "h"] : [Math.round(size / 86_400), "d"];
  return seconds < 0 ? `${n} ${unit} ago` : `in ${n} ${unit}`;
}

/** Local date and time to the second. */
export function moment(at: string): string {
  const d = new Date(at);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clock(at)}`;
}

export function clock(at: string): string {
  const d = new Date(at);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

export function commit(sha: string | null | undefined): string {
  return sha ? sha.slice(0, 7) : "–";
}

/** `refs/heads/release/1` -> `release/1`; other refs as they are. */
export function branchOf(ref: string): string {
  return ref.replace(/^refs\/heads\//, "");
}

/** `tearing_down` -> `tearing down`. */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

/** How a baseline was measured. Source: `comparison.order` of a suite. */
export function measuredHow(mode: string | null | undefined): string | null {
  return mode === "separate" ? "measured in a run of its own" : mode ?? null;
}

export function cellText(cell: Record<string, unknown>): string {
  return Object.entries(cell).map(([name, value]) => `${name}=${text(value)}`).join(" ");
}

/** Any JSON value on one line; texts as they are. */
export function text(value: unknown): string {
  if (typeof value === "string") return value;
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? number(value) : JSON.stringify(value);
}

export function plural(n: number, noun: string): string {
  return `${whole.format(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** How often each value occurs, in the order they are first met: `1 worse, 2 same`. */
export function tally(values: readonly (string | null)[]): string {
  const counts = new Map<string, number>();
  for (const value of values) if (value) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].map(([value, n]) => `${n} ${value}`).join(", ");
}

function pad(n: number): string {
  return String(n).padStart(2, "0");
}
