import type { Decision, Explanation, Reason, StoredEvent } from "../api/types";
import { moment, text, words } from "../format";
import { Mark } from "../marks";

/** The decisions about a thing with their reasons, and what happened to it. */
export function Why({ explanation }: { explanation: Explanation }) {
  const { decisions, events, summary } = explanation;
  return (
    <section aria-labelledby="why">
      <h2 id="why">Decision, and why</h2>
      {decisions.length === 0 && <p>{summary}{/[.!?]$/.test(summary) ? "" : "."} <span className="quiet">No decision is recorded about it.</span></p>}
      <ol className="decisions">{decisions.map((decision) => <li key={decision.id}><Judged decision={decision} /></li>)}</ol>
      {events.length > 0 && (
        <details>
          <summary>Everything that happened ({events.length})</summary>
          <ol className="events">{events.map((event) => <Happened key={event.id} event={event} />)}</ol>
        </details>
      )}
    </section>
  );
}

function Judged({ decision }: { decision: Decision }) {
  const reasons = decision.tree as Reason[];
  const policies = [...new Set(reasons.map((reason) => reason.policy))];
  return (
    <>
      <p className="decision-line">
        <span className="question">May it {question(decision.question)}?</span> <Mark name={decision.decision} />{" "}
        <span className="quiet"><time dateTime={decision.at}>{moment(decision.at)}</time>{decision.next_check && <>; asked again by {moment(decision.next_check)}</>}</span>
      </p>
      <ul className="tree">
        {policies.map((policy) => (
          <li key={policy}>
            {policy && <span className="policy">policy {policy}</span>}
            <ul>{reasons.filter((reason) => reason.policy === policy).map((reason, i) => <Said key={i} reason={reason} />)}</ul>
          </li>
        ))}
      </ul>
      <details className="inputs">
        <summary>What it stood on</summary>
        <p className="quiet">decision <span className="id">{decision.id}</span>, time zones {decision.tzdata}, digest <code className="digest">{decision.digest}</code></p>
        <pre tabIndex={0} aria-label="Inputs of the decision">{JSON.stringify(decision.inputs, null, 2)}</pre>
      </details>
    </>
  );
}

function question(name: string): string {
  return name === "admit" ? "start" : name === "apply" ? "apply its plan" : name === "teardown" ? "be torn down" : words(name);
}

function Said({ reason }: { reason: Reason }) {
  return (
    <li>
      <Mark name={reason.outcome} /> {reason.text}
      {reason.needed ? <span className="quiet">; {reason.needed} more needed</span> : null}
    </li>
  );
}

const TOLD = ["from", "to", "status", "reason", "verdict", "test", "kind"];

function Happened({ event }: { event: StoredEvent }) {
  const told = TOLD.filter((name) => event.payload[name] !== null && event.payload[name] !== undefined && event.payload[name] !== "");
  return (
    <li>
      <time dateTime={event.at} className="quiet num">{moment(event.at)}</time> {words(event.name)}{" "}
      <span className="quiet">{told.map((name) => `${name} ${text(event.payload[name])}`).join(", ")}</span>
    </li>
  );
}
