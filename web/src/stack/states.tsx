import { useId, useRef, useState } from "react";

import type { History, Stack, StackState } from "../api/types";
import { useDoing } from "../api/use-doing";
import { branchOf, commit, moment } from "../format";
import { Mark, StackMark } from "../marks";
import { Prose, Refusal } from "../parts";
import { Link } from "../router";
import { useMay } from "../session";
import { Ago, useNow } from "../time";
import { Associate } from "./associate";
import { Destroy, Waive } from "./endings";
import { holdsResources, mayStillBeCalledOff } from "./state";
import { OtherStack } from "./other-stack";

interface Given {
  stack: Stack;
  history: readonly History[];
  onChanged: () => void;
}

export function States({ stack, history, onChanged }: Given) {
  const now = useNow(true);
  if (stack.states.length === 0) return null;
  return (
    <section aria-labelledby="states">
      <h2 id="states">States</h2>
      <ul className="states">
        {stack.states.map((state) => (
          <li key={state.id} className={`state-of ${state.status}`}>
            <h3>
              {state.name} <StackMark status={state.status} />
              <span className="quiet since">
                {state.since && <> since <Ago at={state.since} now={now} /></>}
                {state.environment && state.environment !== state.name && <> · {state.environment}</>}
              </span>
            </h3>
            {state.reason && <p className="reason-of"><Prose text={state.reason} /></p>}
            <Facts state={state} history={history} now={now} />
            <Acts stack={stack} state={state} history={history} onChanged={onChanged} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function Facts({ state, history, now }: { state: StackState; history: readonly History[]; now: number }) {
  const last = history.find((run) => run.id === state.last_run);
  const altered = state.history_altered;
  return (
    <dl className="facts small">
      {state.successor && <><dt>Its code</dt><dd>Moved to <OtherStack id={state.successor} /></dd></>}
      {state.destroy_at && (
        <>
          <dt>Due</dt>
          <dd><Mark name="overdue" label={`Will be destroyed at ${moment(state.destroy_at)}`} /> (<Ago at={state.destroy_at} now={now} />), unless it is associated, its code comes back, or somebody calls it off</dd>
        </>
      )}
      {altered && (
        <>
          <dt>History</dt>
          <dd>
            <Mark name="hold" label="rewritten" />: <code title={altered.commit}>{commit(altered.commit)}</code>, from which it was deployed, is in the history of {branchOf(altered.ref)} no more since <time dateTime={altered.since}>{moment(altered.since)}</time>
            {altered.head ? <>; the branch stands at <code title={altered.head}>{commit(altered.head)}</code></> : "; the branch is gone"}
          </dd>
        </>
      )}
      {state.commit && <><dt>Deployed</dt><dd><code title={state.commit}>{commit(state.commit)}</code>{state.serial !== null && state.serial !== undefined && <span className="quiet"> version {state.serial} of the state</span>}</dd></>}
      {state.last_run && <><dt>{last?.kind === "preview" ? "Evidence" : "Last run"}</dt><dd>{last?.kind === "preview" && "plan in run "}<Link className="id" href={`/runs/${state.last_run}`}>{state.last_run}</Link> {last && <><span className="kind">{last.kind}</span> <Mark name={last.status} /></>}</dd></>}
      {state.waived_by && <><dt>Waived by</dt><dd>{state.waived_by}</dd></>}
    </dl>
  );
}

type Form = "associate" | "destroy" | "waive";

/** What a person may do about a state now; nothing that its status rules out. */
function Acts({ stack, state, history, onChanged }: Given & { state: StackState }) {
  const id = useId();
  const mayEnd = useMay("register");
  const [form, setForm] = useState<Form | null>(null);
  const opener = useRef<HTMLButtonElement | null>(null);
  const calledOff = useDoing();
  const isLoose = state.status === "loose";
  const canBeKept = mayStillBeCalledOff(state, history);
  if (!mayEnd || !(holdsResources(state.status) || canBeKept)) return null;

  function close() {
    setForm(null);
    opener.current?.focus();
  }
  function opens(which: Form, label: string) {
    return (
      <button
        type="button" aria-expanded={form === which} aria-controls={`${id}-form`}
        onClick={(event) => { opener.current = event.currentTarget; setForm(form === which ? null : which); }}
      >{label} …</button>
    );
  }
  async function callOff() {
    if (await calledOff.run(`stacks/${stack.id}/keep`, { state: state.name })) onChanged();
  }
  const given = { stack, state, onClose: close, onChanged };
  return (
    <>
      <div className="actions">
        {isLoose && opens("associate", "Associate")}
        {state.status !== "destroying" && opens("destroy", "Destroy")}
        {canBeKept && <button type="button" disabled={calledOff.busy} onClick={() => void callOff()}>Call the destroy off</button>}
        {isLoose && opens("waive", "Waive")}
      </div>
      <Refusal error={calledOff.error} />
      <div id={`${id}-form`} onKeyDown={(event) => { if (event.key === "Escape") close(); }}>
        {form === "associate" && isLoose && <Associate {...given} />}
        {form === "destroy" && state.status !== "destroying" && <Destroy {...given} />}
        {form === "waive" && isLoose && <Waive {...given} />}
      </div>
    </>
  );
}
