/** A run as its event stream tells it. Pure; what is told twice changes nothing, so a stream may begin anew. */
import type { LogLine, Phase, Point, Run } from "../api/types";

export interface ServerEvent {
  id: string;
  name: string;
  data: string;
}

export interface Progress {
  percent: number;
  phase: string | null;
  test: string | null;
  tps: number | null;
}

export interface LivePoint extends Point {
  test: string;
  at: string;
}

export interface Live {
  run: Run | null;
  progress: Progress | null;
  /** By test; each by sample, then second. */
  points: ReadonlyMap<string, readonly LivePoint[]>;
  /** The newest, oldest first. */
  log: readonly LogLine[];
  logDropped: number;
  ended: boolean;
}

/** Log lines kept; older ones are counted and dropped. */
export const LOG_KEPT = 2000;

export const NOTHING_YET: Live = {
  run: null, progress: null, points: new Map(), log: [], logDropped: 0, ended: false,
};

/** Split what has arrived into whole events and the rest. Shape: fields of https://html.spec.whatwg.org/#event-stream. */
export function parse(buffer: string): { events: ServerEvent[]; rest: string } {
  const normal = buffer.replaceAll("\r\n", "\n");
  const blocks = normal.split("\n\n");
  const rest = blocks.pop() ?? "";
  return { events: blocks.map(eventOf).filter((event) => event !== null), rest };
}

function eventOf(block: string): ServerEvent | null {
  let id = "";
  let name = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    if (at === 0) continue;
    const field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "id") id = value;
    else if (field === "event") name = value;
    else if (field === "data") data.push(value);
  }
  return data.length > 0 ? { id, name, data: data.join("\n") } : null;
}

/** Take a batch of events in, in order. */
export function advance(live: Live, events: readonly ServerEvent[]): Live {
  let next = live;
  const points: LivePoint[] = [];
  const lines: LogLine[] = [];
  for (const event of events) {
    const said: unknown = JSON.parse(event.data);
    if (event.name === "run") next = { ...next, run: said as Run };
    else if (event.name === "phase") next = { ...next, run: withPhase(next.run, said as Phase & { test: string }) };
    else if (event.name === "progress") next = { ...next, progress: withTps(next.progress, said as Progress) };
    else if (event.name === "point") points.push(said as LivePoint);
    else if (event.name === "log") lines.push(said as LogLine);
    else if (event.name === "end") next = { ...next, run: said as Run, ended: true };
  }
  return { ...next, points: withPoints(next.points, points), ...withLines(next, lines) };
}

function withPhase(run: Run | null, { test, ...phase }: Phase & { test: string }): Run | null {
  if (run === null) return null;
  if (test === "") return { ...run, phases: placed(run.phases, phase) };
  const tests = run.tests.map((t) => (t.name === test ? { ...t, phases: placed(t.phases, phase) } : t));
  return { ...run, tests };
}

function placed(phases: readonly Phase[], phase: Phase): Phase[] {
  const at = phases.findIndex((p) => p.name === phase.name);
  return at < 0 ? [...phases, phase] : phases.map((p, i) => (i === at ? phase : p));
}

/** A look without new points says nothing about the speed: the last one stays while its phase lasts. */
function withTps(before: Progress | null, said: Progress): Progress {
  const same = before !== null && before.phase === said.phase && before.test === said.test;
  return said.tps === null && same ? { ...said, tps: before.tps } : said;
}

export function withPoints(
  before: ReadonlyMap<string, readonly LivePoint[]>, added: readonly LivePoint[],
): ReadonlyMap<string, readonly LivePoint[]> {
  if (added.length === 0) return before;
  const next = new Map(before);
  for (const test of new Set(added.map((p) => p.test))) {
    const merged = new Map<string, LivePoint>();
    for (const p of [...(before.get(test) ?? []), ...added.filter((a) => a.test === test)]) merged.set(`${p.sample}/${p.second}`, p);
    next.set(test, [...merged.values()].sort((a, b) => a.sample - b.sample || a.second - b.second));
  }
  return next;
}

function withLines(before: Live, added: readonly LogLine[]): Pick<Live, "log" | "logDropped"> {
  const last = before.log.at(-1);
  const fresh = last ? added.filter((line) => Number(line.id) > Number(last.id)) : added;
  if (fresh.length === 0) return { log: before.log, logDropped: before.logDropped };
  const all = [...before.log, ...fresh];
  const over = Math.max(0, all.length - LOG_KEPT);
  return { log: over > 0 ? all.slice(over) : all, logDropped: before.logDropped + over };
}
