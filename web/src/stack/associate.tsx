import { useId, useState } from "react";

import { withQuery } from "../api/client";
import type { Run, Stack, StackState } from "../api/types";
import { useAll } from "../api/use-all";
import { useDoing } from "../api/use-doing";
import { branchOf } from "../format";
import { Refusal } from "../parts";
import { go } from "../router";
import { targetsFor } from "./state";

export interface ActProps {
  stack: Stack;
  state: StackState;
  onClose: () => void;
  onChanged: () => void;
}

/** Give a loose state other code. The server says everything that stands against it, and the deploy is judged like any. */
export function Associate({ stack, state, onClose, onChanged }: ActProps) {
  const id = useId();
  const [elsewhere, setElsewhere] = useState(false);
  const known = useAll<Stack>(withQuery("stacks", { status: "active", repo: elsewhere ? null : stack.repo_id }));
  const targets = targetsFor(stack, state, known.items);
  const [chosen, setChosen] = useState(state.successor ?? "");
  const [name, setName] = useState(state.name);
  const [reason, setReason] = useState("");
  const doing = useDoing();
  const target = targets.find((other) => other.id === chosen);

  async function associate() {
    if (!target) return;
    const body = {
      target: target.id, state: state.name,
      ...(name.trim() !== state.name && { name: name.trim() }), ...(reason.trim() && { reason: reason.trim() }),
    };
    const made = (await doing.run(`stacks/${stack.id}/associate`, body)) as Run | null;
    if (made) go(`/runs/${made.id}`);
    else onChanged();
  }

  return (
    <form className="act" aria-label={`Associate state ${state.name}`} onSubmit={(event) => { event.preventDefault(); void associate(); }}>
      <p>The state gets other code, and a deploy of that is asked for. Its plan and the policies decide; nothing is changed before.</p>
      <label htmlFor={`${id}-t`}>Stack that takes it over</label>
      <select id={`${id}-t`} autoFocus required value={target ? chosen : ""} onChange={(event) => { setChosen(event.target.value); }}>
        <option value="" disabled>{known.done ? (targets.length > 0 ? "choose one" : "none is active and plain") : "reading stacks …"}</option>
        {targets.map((other) => <option key={other.id} value={other.id}>{labelOf(other, state, elsewhere)}</option>)}
      </select>
      <p className="check">
        <input id={`${id}-e`} type="checkbox" checked={elsewhere} onChange={(event) => { setElsewhere(event.target.checked); }} />
        <label htmlFor={`${id}-e`}>Stacks of other repositories as well</label>
      </p>
      <label htmlFor={`${id}-n`}>Name of the state there</label>
      <input id={`${id}-n`} required maxLength={100} value={name} onChange={(event) => { setName(event.target.value); }} />
      <label htmlFor={`${id}-r`}>Reason <span className="quiet">(kept in its history)</span></label>
      <input id={`${id}-r`} maxLength={2000} value={reason} onChange={(event) => { setReason(event.target.value); }} />
      <Refusal error={doing.error ?? known.error} />
      <div className="actions">
        <button type="submit" className="primary" disabled={doing.busy || !target || name.trim() === ""}>Associate and deploy</button>
        <button type="button" onClick={onClose}>Leave it as it is</button>
      </div>
    </form>
  );
}

function labelOf(other: Stack, state: StackState, elsewhere: boolean): string {
  const where = `${other.path} on ${branchOf(other.ref)}`;
  return `${other.name}: ${elsewhere ? `${other.repo} ` : ""}${where}${other.id === state.successor ? " (its code moved here)" : ""}`;
}
