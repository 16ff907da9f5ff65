import { useId, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";

import type { Point } from "../api/types";
import { number, plural } from "../format";
import { linePath, mean, nearest, stretches, ticks, type Measure, type Placed, type Stretch } from "./chart-scale";

const LEFT = 52;
const RIGHT = 10;
const TPS_HEIGHT = 150;
const LATENCY_HEIGHT = 84;
const GAP = 26;
const TOP = 18;

const tps: Measure = (point) => point.tps;
const latency: Measure = (point) => point.latency_ms;
const p95: Measure = (point) => point.p95_ms;

interface ChartProps {
  points: readonly Point[];
  limit: number | null;
  live: boolean;
  label: string;
}

/** Transactions per second and latency, second by second, samples side by side. */
export function Chart({ points, limit, live, label }: ChartProps) {
  const id = useId();
  const frame = useRef<HTMLDivElement>(null);
  const width = useWidth(frame);
  const found = useMemo(() => stretches(points), [points]);
  const [chosen, setChosen] = useState<Placed | null>(null);
  const until = Math.max(found.at(-1)?.until ?? 0, 1);
  const x = (at: number) => LEFT + (at / until) * (width - LEFT - RIGHT);
  const hasLatency = points.some((point) => point.latency_ms !== null && point.latency_ms !== undefined);
  const height = TOP + TPS_HEIGHT + (hasLatency ? GAP + LATENCY_HEIGHT : 0) + 20;

  function point(event: PointerEvent<SVGSVGElement>) {
    const box = event.currentTarget.getBoundingClientRect();
    setChosen(nearest(found, ((event.clientX - box.left - LEFT) / (width - LEFT - RIGHT)) * until));
  }

  function move(event: KeyboardEvent) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const all = found.flatMap((stretch) => stretch.points);
    const at = chosen ? all.findIndex((placed) => placed.x === chosen.x) + step : step > 0 ? 0 : all.length - 1;
    setChosen(all[Math.min(Math.max(at, 0), all.length - 1)] ?? null);
  }

  return (
    <figure className="chart">
      <figcaption id={`${id}-c`}>{live ? <span className="mark busy">live</span> : null} {described(points, found)}</figcaption>
      <div ref={frame} role="group" tabIndex={0} aria-label={`${label}: per-second chart, arrow keys read it`} onKeyDown={move}>
        <svg width={width} height={height} role="img" aria-labelledby={`${id}-c`} onPointerMove={point} onPointerLeave={() => { setChosen(null); }}>
          <Panel found={found} x={x} width={width} top={TOP} height={TPS_HEIGHT} unit="tps" lines={[[tps, "tps"]]} limit={limit} />
          {hasLatency && <Panel found={found} x={x} width={width} top={TOP + TPS_HEIGHT + GAP} height={LATENCY_HEIGHT} unit="ms" lines={[[latency, "latency"], [p95, "p95"]]} limit={null} />}
          <Samples found={found} x={x} height={height} />
          {chosen && <line className="cursor" x1={x(chosen.x)} x2={x(chosen.x)} y1={TOP} y2={height - 20} />}
        </svg>
      </div>
      <p className="readout num" aria-live="polite">{chosen ? told(chosen.point) : " "}</p>
    </figure>
  );
}

interface PanelProps {
  found: Stretch[];
  x: (at: number) => number;
  width: number;
  top: number;
  height: number;
  unit: string;
  lines: [Measure, string][];
  limit: number | null;
}

function Panel({ found, x, width, top, height, unit, lines, limit }: PanelProps) {
  const values = found.flatMap((s) => s.points.flatMap((p) => lines.map(([of]) => of(p.point) ?? 0)));
  const steps = ticks(Math.max(...values, 0), height > 100 ? 4 : 2);
  const highest = steps.at(-1) ?? 1;
  const y = (value: number) => top + height - (value / highest) * height;
  return (
    <g aria-hidden="true">
      {steps.map((value) => (
        <g key={value}>
          <line className="grid" x1={LEFT} x2={width - RIGHT} y1={y(value)} y2={y(value)} />
          <text className="tick" x={LEFT - 6} y={y(value) + 4} textAnchor="end">{number(value)}</text>
        </g>
      ))}
      <text className="unit" x={LEFT} y={top - 7}>{lines.length > 1 ? `${unit}: mean, p95 dashed` : unit}</text>
      {limit !== null && limit <= highest && <line className="limit" x1={LEFT} x2={width - RIGHT} y1={y(limit)} y2={y(limit)} />}
      {found.map((stretch) => lines.map(([of, name]) => (
        <path key={`${stretch.sample}/${name}`} className={`series ${name}`} d={linePath(stretch.points, of, x, y)} />
      )))}
      {found.map((stretch) => stretch.points.length === 1 && lines.map(([of, name]) => {
        const only = stretch.points[0];
        const value = only && of(only.point);
        return only && typeof value === "number" ? <circle key={`${stretch.sample}/${name}`} className="series-dot" cx={x(only.x)} cy={y(value)} r="1.8" /> : null;
      }))}
    </g>
  );
}

/** Where one sample ends and the next begins, and their numbers. */
function Samples({ found, x, height }: { found: Stretch[]; x: (at: number) => number; height: number }) {
  return (
    <g aria-hidden="true">
      <text className="tick" x={LEFT - 6} y={height - 3} textAnchor="end">sample</text>
      {found.map((stretch, i) => (
        <g key={stretch.sample}>
          {i > 0 && <line className="between" x1={x(stretch.from - 0.5)} x2={x(stretch.from - 0.5)} y1={TOP} y2={height - 16} />}
          <text className="tick" x={(x(stretch.from) + x(stretch.until)) / 2} y={height - 3} textAnchor="middle">{found.length > 12 && i % 5 !== 0 ? "" : stretch.sample}</text>
        </g>
      ))}
    </g>
  );
}

function described(points: readonly Point[], found: Stretch[]): string {
  const values = points.map((point) => point.tps);
  const low = Math.min(...values);
  const high = Math.max(...values);
  return `${plural(found.length, "sample")}, ${plural(points.length, "second")}: ${number(low)} to ${number(high)} tps, mean ${number(mean(values))}`;
}

function told(point: Point): string {
  const latencies = point.latency_ms != null ? `, ${number(point.latency_ms)} ms${point.p95_ms != null ? `, p95 ${number(point.p95_ms)} ms` : ""}` : "";
  const failed = point.errors ? `, ${plural(point.errors, "error")}` : "";
  return `sample ${point.sample}, second ${point.second}: ${number(point.tps)} tps${latencies}${failed}`;
}

function useWidth(frame: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(640);
  useLayoutEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const observer = new ResizeObserver(([entry]) => { if (entry) setWidth(Math.max(entry.contentRect.width, 240)); });
    observer.observe(element);
    return () => { observer.disconnect(); };
  }, [frame]);
  return width;
}
