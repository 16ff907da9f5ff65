import type { Comparison, Point, Run, RunTest, Sample, ThresholdOutcome } from "../api/types";
import { usePolled } from "../api/use-polled";
import { cellText, duration, number, percent, plural, text } from "../format";
import { Mark, None } from "../marks";
import { Refusal } from "../parts";
import { Chart } from "./chart";
import { isOpen } from "./state";
import type { LivePoint, Live } from "./stream";

export function Tests({ run, live }: { run: Run; live: Live }) {
  return run.tests.map((test) => (
    <One key={test.name} run={run} test={test} points={live.points.get(test.name) ?? []} />
  ));
}

function One({ run, test, points }: { run: Run; test: RunTest; points: readonly LivePoint[] }) {
  const id = `test-${test.name}`;
  const limit = (test.thresholds as ThresholdOutcome[]).find((t) => t.metric === "tps")?.min ?? null;
  return (
    <section className="test" aria-labelledby={id}>
      <h2 id={id}>
        {test.name} {Object.keys(test.cell).length > 0 && <span className="quiet">{cellText(test.cell)}</span>}{" "}
        {test.verdict ? <Mark name={test.verdict} /> : <Mark name={test.status} />}
      </h2>
      {test.driver && <p className="quiet">{test.driver} {test.driver_version}</p>}
      <Reasons test={test} />
      <Series test={test} live={points} ended={!isOpen(run.status)} limit={limit} />
      {test.result && <Figures result={test.result} of={shownSample(test.samples)} />}
      <Thresholds found={test.thresholds as ThresholdOutcome[]} />
      <Comparisons found={test.comparisons as Comparison[]} />
      <Samples samples={test.samples} />
      <Downloads test={test} />
    </section>
  );
}

function Reasons({ test }: { test: RunTest }) {
  if (test.reasons.length + test.warnings.length === 0) return null;
  return (
    <ul className="reasons">
      {test.reasons.map((reason, i) => <li key={`r${i}`}>{text(reason)}</li>)}
      {test.warnings.map((warning, i) => <li key={`w${i}`}><Mark name="inconclusive" label="warning" /> {text(warning)}</li>)}
    </ul>
  );
}

/** Live points while the run is open; afterwards the stored series, which outlives them. */
function Series({ test, live, ended, limit }: { test: RunTest; live: readonly LivePoint[]; ended: boolean; limit: number | null }) {
  const stored = usePolled<{ points: Point[] }>(ended && test.samples.length > 0 ? (test.series_url ?? null) : null, 0);
  const kept = stored.data?.points ?? [];
  const points = kept.length > 0 ? kept : live;
  if (points.length > 0) return <Chart points={points} limit={limit} live={!ended} label={test.name} />;
  const why = test.samples.map((sample) => sample.result["series_reason"]).find((reason) => typeof reason === "string" && reason !== "");
  if (stored.error) return <Refusal error={stored.error} />;
  return typeof why === "string" ? <p className="quiet">No per-second series: {why}</p> : null;
}

const FIGURES: readonly [name: string, label: string][] = [
  ["tps", "tps"], ["nopm", "NOPM"], ["tpm_c", "tpmC"], ["transactions", "transactions"], ["errors", "errors"],
  ["error_rate", "error rate"], ["retries", "retries"], ["lost_clients", "lost clients"], ["checkpoints", "checkpoints"],
  ["failover_s", "failover, s"],
];

/** Which of several samples the result is: the last valid one. */
function shownSample(samples: Sample[]): string | null {
  const own = samples.filter((sample) => sample.side === "candidate");
  const last = own.findLast((sample) => sample.valid);
  return last && own.length > 1 ? `Sample ${last.n}, the last valid of ${own.length}` : null;
}

function Figures({ result, of }: { result: NonNullable<RunTest["result"]>; of: string | null }) {
  const all: Record<string, unknown> = result;
  const latency = result.latency_ms ?? {};
  const bound = latency["bound"] === "upper" ? "≤ " : "";
  const shown: [string, string][] = FIGURES.flatMap(([name, label]) => (typeof all[name] === "number" ? [[label, number(all[name])] as [string, string]] : []));
  for (const [name, value] of Object.entries(latency)) {
    if (typeof value === "number") shown.push([`${name}, ms`, `${name.startsWith("p") ? bound : ""}${number(value)}`]);
  }
  if (result.duration_s != null) shown.push(["measured", duration(result.duration_s)]);
  return (
    <>
      {of && <p className="quiet of">{of}</p>}
      <dl className="figures">
        {shown.map(([label, value]) => <div key={label}><dt>{label}</dt><dd>{value}</dd></div>)}
      </dl>
      {result.fingerprint && Object.keys(result.fingerprint).length > 0 && (
        <details>
          <summary>Measured on</summary>
          <dl className="facts small">{Object.entries(result.fingerprint).map(([name, value]) => <Pair key={name} name={name} value={value} />)}</dl>
        </details>
      )}
    </>
  );
}

function Pair({ name, value }: { name: string; value: unknown }) {
  return <><dt>{name}</dt><dd>{text(value)}</dd></>;
}

function Thresholds({ found }: { found: ThresholdOutcome[] }) {
  if (found.length === 0) return null;
  return (
    <table className="list plain">
      <caption>Thresholds</caption>
      <thead><tr><th scope="col">Metric</th><th scope="col" className="num">Asked</th><th scope="col" className="num">Measured</th><th scope="col">Verdict</th></tr></thead>
      <tbody>
        {found.map((t) => (
          <tr key={t.metric}>
            <th scope="row">{t.metric}</th>
            <td className="num">{asked(t)}</td>
            <td className="num">{t.lower != null ? `${number(t.lower)} to ${number(t.value)}` : number(t.value)}</td>
            <td>{t.verdict === null ? <None>not judged</None> : <Mark name={t.verdict} />}{t.verdict !== null && t.verdict !== "pass" && t.evidence && <div className="why">{t.evidence}</div>}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function asked(t: ThresholdOutcome): string {
  return [t.min != null ? `≥ ${number(t.min)}` : null, t.max != null ? `≤ ${number(t.max)}` : null].filter(Boolean).join(", ") || "–";
}

function Comparisons({ found }: { found: Comparison[] }) {
  if (found.length === 0) return null;
  return (
    <div className="scroll" role="group" aria-label="Compared with the baseline" tabIndex={0}>
      <table className="list plain">
        <caption>Compared with the baseline</caption>
        <thead>
          <tr><th scope="col">Metric</th><th scope="col">Verdict</th><th scope="col" className="num">Change</th><th scope="col" className="num">Baseline</th><th scope="col" className="num">Candidate</th><th scope="col" className="num">Interval</th><th scope="col" className="num">Pairs</th></tr>
        </thead>
        <tbody>
          {found.map((c) => (
            <tr key={c.metric}>
              <th scope="row">{c.metric}{c.decides === false && <span className="quiet"> shown only</span>}</th>
              <td><Mark name={c.verdict} />{c.reason && <div className="why">{c.reason}</div>}</td>
              <td className="num">{percent(c.change_pct)}</td>
              <td className="num">{number(c.baseline)}</td>
              <td className="num">{number(c.candidate)}</td>
              <td className="num">{c.interval_pct ? `${percent(c.interval_pct[0])} .. ${percent(c.interval_pct[1])}` : <None />}</td>
              <td className="num">{c.pairs ? c.pairs : <None />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Samples({ samples }: { samples: Sample[] }) {
  if (samples.length === 0) return null;
  return (
    <details open={samples.some((sample) => !sample.valid)}>
      <summary>{plural(samples.length, "sample")}</summary>
      <table className="list plain">
        <thead><tr><th scope="col" className="num">No.</th><th scope="col">Side</th><th scope="col" className="num">tps</th><th scope="col" className="num">Transactions</th><th scope="col">Valid</th></tr></thead>
        <tbody>
          {samples.map((sample) => (
            <tr key={`${sample.side}/${sample.n}`}>
              <td className="num">{sample.n}</td>
              <td>{sample.side}</td>
              <td className="num">{text(sample.result["tps"])}</td>
              <td className="num">{text(sample.result["transactions"])}</td>
              <td>{sample.valid ? <Mark name="pass" label="valid" /> : <Mark name="invalid" />}{sample.reason && <div className="why">{sample.reason}</div>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

function Downloads({ test }: { test: RunTest }) {
  const { artifacts } = test;
  if (artifacts.length === 0) return null;
  return (
    <p className="downloads">
      <span className="quiet">Download</span> {artifacts.map((artifact) => <a key={artifact.url} href={artifact.url} download>{artifact.name}</a>)}
    </p>
  );
}
