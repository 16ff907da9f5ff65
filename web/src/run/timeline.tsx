import type { Phase, Run } from "../api/types";
import { cellText, duration, span, words } from "../format";
import { Mark } from "../marks";
import { barOf, extent, isOpen, slotsOf, type PhaseSlot } from "./state";

const OPEN_UP_TO = 3;

/** Every test's phases on the run's own time, so that what went on beside each other lies beside each other. */
export function Timeline({ run, now }: { run: Run; now: number }) {
  const all = run.tests.length > 0 ? run.tests.flatMap((test) => test.phases) : run.phases;
  const open = isOpen(run.status);
  if (all.length === 0) return null;
  const [from, until] = extent(all, now);
  const lane = { from, until, now };
  return (
    <section aria-labelledby="timeline">
      <h2 id="timeline">Phases</h2>
      {run.tests.length === 0 && <Lane slots={slotsOf(run.kind, run.phases, open)} {...lane} label="The run" />}
      {run.tests.map((test, i) => (
        <details key={test.name} className="lane-of" open={i < OPEN_UP_TO || test.status === "failed"}>
          <summary>{test.name} <span className="quiet">{cellText(test.cell)}</span> <Mark name={test.status} /> <span className="quiet num">{duration(whole(test.phases, now))}</span></summary>
          <Lane slots={slotsOf(run.kind, test.phases, isOpen(test.status))} {...lane} label={test.name} />
        </details>
      ))}
    </section>
  );
}

function whole(phases: Phase[], now: number): number | null {
  if (phases.length === 0) return null;
  const [from, until] = extent(phases, now);
  return (until - from) / 1000;
}

interface LaneProps {
  slots: PhaseSlot[];
  from: number;
  until: number;
  now: number;
  label: string;
}

function Lane({ slots, label, ...time }: LaneProps) {
  return (
    <table className="lane">
      <caption className="unseen">Phases of {label}</caption>
      <thead className="unseen"><tr><th scope="col">Phase</th><th scope="col">Status</th><th scope="col">When</th><th scope="col">Took</th></tr></thead>
      <tbody>{slots.map(({ name, phase }) => <Row key={name} name={name} phase={phase} {...time} />)}</tbody>
    </table>
  );
}

function Row({ name, phase, from, until, now }: { name: string; phase: Phase | null; from: number; until: number; now: number }) {
  if (phase === null) return <tr className="later"><th scope="row">{words(name)}</th><td><span className="unseen">not started</span></td><td className="track" /><td className="num">–</td></tr>;
  const bar = barOf(phase, from, until, now);
  return (
    <>
      <tr>
        <th scope="row">{words(name)}{phase.iterations > 1 && <span className="quiet"> ×{phase.iterations}</span>}</th>
        <td className="what"><Mark name={phase.status} /></td>
        <td className="track"><svg preserveAspectRatio="none" viewBox="0 0 100 10" aria-hidden="true"><rect className={`bar ${phase.status}`} x={bar.left} width={Math.max(bar.width, 0.4)} y="0" height="10" /></svg></td>
        <td className="num">{duration(span(phase.started_at, phase.ended_at, now))}</td>
      </tr>
      {phase.detail && <tr className="detail"><td colSpan={4}>{phase.detail}</td></tr>}
    </>
  );
}
