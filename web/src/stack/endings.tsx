import { useId, useState, type ReactNode } from "react";

import type { Run } from "../api/types";
import { useDoing } from "../api/use-doing";
import { Refusal } from "../parts";
import { go } from "../router";
import type { ActProps } from "./associate";

/** The run that destroys is where one sees what became of it. */
export function Destroy(given: ActProps) {
  const { stack, state, onClose } = given;
  const doing = useDoing();
  async function destroy(reason: string) {
    const made = (await doing.run(`stacks/${stack.id}/destroy`, { state: state.name, ...(reason && { reason }) })) as Run | null;
    if (made) go(`/runs/${made.id}`);
  }
  return (
    <Ending name={state.name} title={`Destroy state ${state.name}`} verb="Destroy it" busy={doing.busy} onClose={onClose} onSure={destroy}>
      <p>Everything that state {state.name} of {stack.name} holds is destroyed, by the code it was deployed with. It needs no window and no approval, and cannot be undone.</p>
      <Refusal error={doing.error} />
    </Ending>
  );
}

/** A person answers for what is left. */
export function Waive(given: ActProps) {
  const { stack, state, onClose, onChanged } = given;
  const doing = useDoing();
  async function waive(reason: string) {
    if (!(await doing.run(`stacks/${stack.id}/waive`, { state: state.name, reason }))) return;
    onClose();
    onChanged();
  }
  return (
    <Ending name={state.name} title={`Waive state ${state.name}`} verb="Waive it" busy={doing.busy} needsReason onClose={onClose} onSure={waive}>
      <p>Nothing is destroyed: you answer, by your name and with a reason, for what state {state.name} of {stack.name} holds. Stackly keeps no hand on it any more.</p>
      <Refusal error={doing.error} />
    </Ending>
  );
}

interface EndingProps {
  name: string;
  title: string;
  verb: string;
  busy: boolean;
  needsReason?: boolean;
  onClose: () => void;
  onSure: (reason: string) => Promise<void>;
  children: ReactNode;
}

/** What cannot be taken back is done only after its name was typed. */
function Ending({ name, title, verb, busy, needsReason = false, onClose, onSure, children }: EndingProps) {
  const id = useId();
  const [typed, setTyped] = useState("");
  const [reason, setReason] = useState("");
  const isSure = typed === name && (!needsReason || reason.trim() !== "");
  return (
    <form className="act" aria-label={title} onSubmit={(event) => { event.preventDefault(); if (isSure) void onSure(reason.trim()); }}>
      {children}
      <label htmlFor={`${id}-r`}>Reason {!needsReason && <span className="quiet">(kept in its history)</span>}</label>
      <input id={`${id}-r`} autoFocus required={needsReason} maxLength={2000} value={reason} onChange={(event) => { setReason(event.target.value); }} />
      <label htmlFor={`${id}-n`}>Type <code>{name}</code> to confirm</label>
      <input id={`${id}-n`} required autoComplete="off" spellCheck={false} value={typed} onChange={(event) => { setTyped(event.target.value); }} />
      <div className="actions">
        <button type="submit" className="danger" disabled={busy || !isSure}>{verb}</button>
        <button type="button" onClick={onClose}>Leave it as it is</button>
      </div>
    </form>
  );
}
