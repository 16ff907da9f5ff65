import { useId, useState } from "react";

import type { Approval, Run } from "../api/types";
import { useDoing } from "../api/use-doing";
import { usePolled } from "../api/use-polled";
import { moment, plural } from "../format";
import { Mark } from "../marks";
import { Refusal } from "../parts";
import { go } from "../router";
import { useMay, useMe } from "../session";
import { canRerun, isOpen } from "./state";

const APPROVAL_EVERY_MS = 5000;

export function Actions({ run }: { run: Run }) {
  const mayOperate = useMay("operate");
  return (
    <>
      {mayOperate && (isOpen(run.status) || canRerun(run.kind)) && <div className="actions">{isOpen(run.status) ? <Cancel run={run} /> : <Rerun run={run} />}</div>}
      {run.status === "awaiting_approval" && <Vote run={run} />}
    </>
  );
}

function Cancel({ run }: { run: Run }) {
  const [asking, setAsking] = useState(false);
  const doing = useDoing();
  if (run.cancel_requested) return null;
  async function cancel() {
    if (await doing.run(`runs/${run.id}/cancel`, {})) setAsking(false);
  }
  return (
    <>
      {asking ? (
        <span className="confirm" role="group" aria-label="Cancel this run?">
          <button type="button" className="danger" disabled={doing.busy} onClick={() => void cancel()}>Cancel it, tear down</button>
          <button type="button" autoFocus onClick={() => { setAsking(false); }}>Keep it running</button>
        </span>
      ) : <button type="button" onClick={() => { setAsking(true); }}>Cancel run</button>}
      <Refusal error={doing.error} />
    </>
  );
}

function Rerun({ run }: { run: Run }) {
  const doing = useDoing();
  async function again() {
    const made = (await doing.run(`runs/${run.id}/rerun`, {})) as Run | null;
    if (made) go(`/runs/${made.id}`);
  }
  return (
    <>
      <button type="button" disabled={doing.busy} onClick={() => void again()}>Run again</button>
      <Refusal error={doing.error} />
    </>
  );
}

/** A vote is bound to the digest that is shown: when it moves, the API refuses and the new one is shown. */
function Vote({ run }: { run: Run }) {
  const id = useId();
  const mayApprove = useMay("approve");
  const me = useMe();
  const { data: approval, error, refresh } = usePolled<Approval>(`approvals/${run.id}`, APPROVAL_EVERY_MS);
  const [reason, setReason] = useState("");
  const doing = useDoing();
  if (approval === null) return <Refusal error={error} />;
  const hasVoted = approval.votes.some((v) => v.login === me?.login);
  async function vote(verb: "approve" | "deny", digest: string) {
    const body = reason.trim() ? { digest, reason: reason.trim() } : { digest };
    if (await doing.run(`approvals/${run.id}/${verb}`, body)) setReason("");
    refresh();
  }
  return (
    <section className="vote" aria-labelledby={`${id}-h`}>
      <h2 id={`${id}-h`}>It waits for a person</h2>
      <p>
        {approval.approved} of {plural(approval.needed, "approval")}, asked by policy {approval.policy || "–"}
        {approval.groups.length > 0 && <>; from {approval.groups.join(" or ")}</>}; expires <time dateTime={approval.expires_at}>{moment(approval.expires_at)}</time>
      </p>
      {approval.still_needed ? (
        <div>
          {approval.still_needed === 1 ? "1 more person" : `${approval.still_needed} more people`} still needed
          {approval.why.map((why) => <div className="quiet" key={why}>{why}</div>)}
        </div>
      ) : null}
      <p className="quiet">Bound to digest <code className="digest">{approval.digest}</code></p>
      {approval.votes.length > 0 && (
        <ul className="votes">{approval.votes.map((v) => <li key={v.login + v.at}><Mark name={v.value} /> {v.login} {v.reason && <q>{v.reason}</q>}</li>)}</ul>
      )}
      {hasVoted ? <p className="quiet">Your vote is counted.</p> : mayApprove ? (
        <form onSubmit={(event) => { event.preventDefault(); }}>
          <label htmlFor={`${id}-r`}>Reason <span className="quiet">(a denial needs one)</span></label>
          <input id={`${id}-r`} value={reason} maxLength={2000} onChange={(event) => { setReason(event.target.value); }} />
          <div className="actions">
            <button type="button" className="primary" disabled={doing.busy} onClick={() => void vote("approve", approval.digest)}>Approve</button>
            <button type="button" className="danger" disabled={doing.busy || reason.trim() === ""} onClick={() => void vote("deny", approval.digest)}>Deny</button>
          </div>
        </form>
      ) : <p className="quiet">Your roles do not allow you to vote.</p>}
      <Refusal error={doing.error} />
    </section>
  );
}
