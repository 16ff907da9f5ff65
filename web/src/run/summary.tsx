import type { ReactNode } from "react";

import type { Inventory, Run } from "../api/types";
import { usePolled } from "../api/use-polled";
import { commit, measuredHow, moment, plural, tally, text, words } from "../format";
import { GateMark, Mark } from "../marks";
import { Link } from "../router";
import { Ago } from "../time";
import { bySeverity, clearance, measured, isOpen } from "./state";

const INVENTORY_EVERY_MS = 5000;
const PLAN_LINES = 20;

/** One screen: what was run, what came out, whether it may pass, and what is left of it. */
export function Summary({ run, now }: { run: Run; now: number }) {
  const inventory = usePolled<Inventory>("inventory", isOpen(run.status) ? INVENTORY_EVERY_MS : 0);
  const held = inventory.data?.items.filter((item) => item.run_id === run.id).length ?? null;
  const gone = clearance(run, held);
  return (
    <dl className="facts">
      <Fact name="stack">
        <Link href={`/stacks/${run.stack_id}`}>{run.stack}</Link> <span className="quiet">{run.repo}{run.state === "default" ? "" : `, state ${run.state}`}</span>
      </Fact>
      <Fact name="commit">
        {run.branch} @ <code title={run.commit}>{commit(run.commit)}</code> <span className="quiet">{trigger(run)}</span>
      </Fact>
      {run.waiting && isOpen(run.status) && <Fact name="waiting"><Waiting waiting={run.waiting} now={now} /></Fact>}
      {run.reason && <Fact name="reason">{run.reason}</Fact>}
      {run.warnings.length > 0 && <Fact name="warnings">{run.warnings.map((said) => <div key={said}>{said}</div>)}</Fact>}
      {(run.verdict !== null || run.tests.length > 0) && (
        <Fact name="verdict">
          {run.verdict && <Mark name={run.verdict} />}{" "}
          <span className="quiet">{verdicts(run)}</span>
        </Fact>
      )}
      {run.gate && (
        <Fact name="gate">
          <GateMark decision={run.gate.decision} /> {run.gate.policy && <span className="quiet">policy {run.gate.policy}</span>}
          {run.gate.reasons.map((reason, i) => <div key={i}>{text(reason)}</div>)}
        </Fact>
      )}
      {run.baseline?.commit && <Fact name="baseline"><Baseline baseline={run.baseline} /></Fact>}
      {run.changed !== null && run.kind === "deploy" && <Fact name="changed">{run.changed ? "yes" : "no, nothing differed"}</Fact>}
      {run.owed.map((owed) => (
        <Fact name="owed" key={owed.id}>
          {owed.test ? `test ${owed.test}` : "what it made"} cannot be torn down ({owed.tries === 1 ? "1 try" : `${owed.tries} tries`}): {owed.reason}
          <div className="quiet">next try <time dateTime={owed.next_try}>{moment(owed.next_try)}</time>; or answer for it: <code>{owed.command}</code></div>
        </Fact>
      ))}
      {run.plan && run.plan.summary.length > 0 && (
        <Fact name="plan">
          {run.plan.summary.slice(0, PLAN_LINES).map((line, i) => <div key={i}>{line}</div>)}
          {run.plan.changes > PLAN_LINES && <div className="quiet">and {run.plan.changes - Math.min(run.plan.summary.length, PLAN_LINES)} more</div>}
        </Fact>
      )}
      {gone && <Fact name={isOpen(run.status) ? "holds" : "destroyed"}>{gone}</Fact>}
      {run.cost.settled != null && <Fact name="cost"><span className="num">{run.cost.settled}</span> of {run.cost.max_machine_hours ?? "unlimited"} machine-hours</Fact>}
      {run.parent && <Fact name="part of"><Link className="id" href={`/runs/${run.parent}`}>{run.parent}</Link></Fact>}
      <Fact name="asked"><time dateTime={run.created_at}>{moment(run.created_at)}</time>{run.ended_at && <>, ended <time dateTime={run.ended_at}>{moment(run.ended_at)}</time></>}</Fact>
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return <><dt>{name}</dt><dd>{children}</dd></>;
}

function trigger(run: Run): string {
  const { kind, actor, pull_request: pull } = run.trigger;
  const cause = kind ? words(kind) : "started";
  return `${cause}${pull ? ` #${pull}` : ""}${actor ? ` by ${actor}` : ""}`;
}

function verdicts(run: Run): string {
  const { tests } = run;
  const counted = tally(bySeverity(tests.map((test) => test.verdict)));
  return `${counted ? `${counted}; ` : ""}${measured(tests)} of ${plural(tests.length, "test")} measured`;
}

function Waiting({ waiting, now }: { waiting: NonNullable<Run["waiting"]>; now: number }) {
  return (
    <>
      {waiting.reason ?? words(waiting.blocker)}{" "}
      <span className="quiet">
        {words(waiting.blocker)}, since <Ago at={waiting.since} now={now} />
        {waiting.next_check && <>, looked at again <Ago at={waiting.next_check} now={now} /></>}
        {waiting.deadline && <>, given up <Ago at={waiting.deadline} now={now} /></>}
      </span>
    </>
  );
}

function Baseline({ baseline }: { baseline: NonNullable<Run["baseline"]> }) {
  const about = [measuredHow(baseline.mode), baseline.distance ? `${plural(baseline.distance, "commit")} away` : null].filter(Boolean).join(", ");
  return (
    <>
      <code title={baseline.commit ?? undefined}>{commit(baseline.commit)}</code>{" "}
      {baseline.run_id && <Link className="id" href={`/runs/${baseline.run_id}`}>{baseline.run_id}</Link>} <span className="quiet">{about}</span>
    </>
  );
}
