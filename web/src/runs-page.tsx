import { useId } from "react";

import { withQuery } from "./api/client";
import type { Page, Run, RunStatus, Stack } from "./api/types";
import { usePolled } from "./api/use-polled";
import { commit, duration, moment, plural, span, words } from "./format";
import { GateMark, Mark, None } from "./marks";
import { Empty, Loading, Pager, Refusal, useTitle } from "./parts";
import { Link, go, usePlace } from "./router";
import { isOpen } from "./run/state";
import { Ago, useNow } from "./time";

const EVERY_MS = 3000;
const STACKS_EVERY_MS = 30_000;

const STATUSES: readonly RunStatus[] = [
  "queued", "starting", "planning", "awaiting_approval", "applying", "running", "recovering", "tearing_down",
  "succeeded", "failed", "cancelled", "rejected", "superseded",
];

export function RunsPage() {
  useTitle("Runs");
  const { query } = usePlace();
  const [stack, status, cursor] = [query.get("stack"), query.get("status"), query.get("cursor")];
  const { data, error } = usePolled<Page<Run>>(withQuery("runs", { stack, status, cursor }), EVERY_MS);
  const isFiltered = stack !== null || status !== null || cursor !== null;
  return (
    <>
      <div className="title-row">
        <h1>Runs</h1>
        <Filters stack={stack} status={status} />
      </div>
      <Refusal error={error} />
      {data === null && error === null && <Loading what="runs" />}
      {data?.items.length === 0 && (isFiltered ? <NoMatch /> : <Begin />)}
      {data !== null && data.items.length > 0 && <RunTable runs={data.items} caption="Runs, newest first" />}
      {data && <Pager path="/runs" query={{ stack, status }} cursor={cursor} next={data.next} noun="runs" />}
      {data && <LiveCount runs={data.items} />}
    </>
  );
}

/** For screen readers: what changed in the list, in a few words. */
function LiveCount({ runs }: { runs: Run[] }) {
  const open = runs.filter((run) => isOpen(run.status)).length;
  return <p className="unseen" aria-live="polite">{open > 0 ? `${plural(open, "run")} open` : "No run is open"}</p>;
}

function NoMatch() {
  return <Empty title="No run matches"><p><Link href="/runs">Show all runs</Link></p></Empty>;
}

function Begin() {
  return (
    <Empty title="No run yet">
      <p>A run begins with a push to a repository that Stackly knows. Let it show you one:</p>
      <pre className="command"><code>stackly demo</code></pre>
      <p>Or bring a repository of your own, then push to it:</p>
      <pre className="command"><code>stackly repo add URL</code></pre>
    </Empty>
  );
}

function Filters({ stack, status }: { stack: string | null; status: string | null }) {
  const id = useId();
  const { data } = usePolled<Page<Stack>>("stacks?limit=200", STACKS_EVERY_MS);
  const stacks = data?.items ?? [];
  const isListed = stack === null || stacks.some((s) => s.id === stack);
  return (
    <form className="filters" onSubmit={(event) => { event.preventDefault(); }}>
      <span><label htmlFor={`${id}-status`}>Status</label>
      <select id={`${id}-status`} value={status ?? ""} onChange={(e) => { go(withQuery("/runs", { stack, status: e.target.value })); }}>
        <option value="">any</option>
        {STATUSES.map((name) => <option key={name} value={name}>{words(name)}</option>)}
      </select></span>
      <span><label htmlFor={`${id}-stack`}>Stack</label>
      <select id={`${id}-stack`} value={stack ?? ""} onChange={(e) => { go(withQuery("/runs", { stack: e.target.value, status })); }}>
        <option value="">any</option>
        {!isListed && <option value={stack}>{stack}</option>}
        {stacks.map((s) => <option key={s.id} value={s.id}>{s.name} ({s.repo}, {s.ref.replace("refs/heads/", "")})</option>)}
      </select></span>
    </form>
  );
}

export function RunTable({ runs, caption }: { runs: Run[]; caption: string }) {
  const now = useNow(true);
  return (
    <table className="list runs" role="table">
      <caption className="unseen">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {["Status", "Run", "Stack", "Commit", "Verdict", "Gate", "Started", "Duration"].map((name) => (
            <th key={name} role="columnheader" scope="col" className={name === "Duration" ? "num" : undefined}>{name}</th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">{runs.map((run) => <RunRow key={run.id} run={run} now={now} />)}</tbody>
    </table>
  );
}

function RunRow({ run, now }: { run: Run; now: number }) {
  return (
    <tr role="row">
      <td role="cell" className="c-status">
        <Mark name={run.status} />
        {run.waiting && isOpen(run.status) && run.waiting.reason && <div className="why">{run.waiting.reason}</div>}
      </td>
      <td role="cell" className="c-run">
        <Link className="id" href={`/runs/${run.id}`}>{run.id}</Link> <span className="kind">{words(run.kind)}</span>
      </td>
      <td role="cell" className="c-stack"><Link href={`/stacks/${run.stack_id}`}>{run.stack}</Link> <span className="quiet">{run.repo}</span></td>
      <td role="cell" className="c-commit"><span className="branch">{run.branch}</span> <code title={run.commit}>{commit(run.commit)}</code></td>
      <td role="cell" className="c-verdict">{run.verdict ? <Mark name={run.verdict} /> : <None />}</td>
      <td role="cell" className="c-gate">{run.gate ? <GateMark decision={run.gate.decision} /> : <None />}</td>
      <td role="cell" className="c-started" title={moment(run.created_at)}>
        {run.started_at ? <Ago at={run.started_at} now={now} /> : <None>not started</None>}
      </td>
      <td role="cell" className="c-duration num">{run.started_at ? duration(span(run.started_at, run.ended_at, now)) : <None />}</td>
    </tr>
  );
}
