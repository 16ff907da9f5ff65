import { useId } from "react";

import { withQuery } from "./api/client";
import type { Page, Stack } from "./api/types";
import { usePolled } from "./api/use-polled";
import { branchOf, commit, moment, plural } from "./format";
import { Mark, StackMark } from "./marks";
import { Empty, Loading, Pager, Prose, Refusal, useTitle } from "./parts";
import { Link, go, usePlace } from "./router";
import { useNow, Ago } from "./time";

const EVERY_MS = 5000;
const LOOSE_SHOWN = 5;

// The API's statuses; none chosen leaves out what is deregistered, and `all` is every one of them.
const CHOICES: readonly [value: string, label: string][] = [
  ["", "registered"], ["active", "active"], ["loose", "loose"], ["rejected", "rejected"],
  ["deregistered", "deregistered"], ["all", "all of them"],
];

export function StacksPage() {
  useTitle("Stacks");
  const { query } = usePlace();
  const [cursor, repo, status] = [query.get("cursor"), query.get("repo"), query.get("all") ? "all" : query.get("status")];
  const asked = { repo, ...(status === "all" ? { all: "true" } : { status }) };
  const { data, error } = usePolled<Page<Stack>>(withQuery("stacks", { ...asked, cursor }), EVERY_MS);
  const isFiltered = repo !== null || status !== null || cursor !== null;
  return (
    <>
      <div className="title-row">
        <h1>Stacks</h1>
        <Filters status={status} repo={repo} />
      </div>
      <Refusal error={error} />
      {!isFiltered && <Loose />}
      {data === null && error === null && <Loading what="stacks" />}
      {data?.items.length === 0 && (isFiltered ? <NoMatch status={status} /> : <Begin />)}
      {data !== null && data.items.length > 0 && <StackTable stacks={data.items} />}
      {data && <Pager path="/stacks" query={asked} cursor={cursor} next={data.next} noun="stacks" />}
    </>
  );
}

function NoMatch({ status }: { status: string | null }) {
  return (
    <Empty title={status === "loose" ? "No stack is loose" : "No stack matches"}>
      <p><Link href="/stacks">Show all stacks</Link></p>
    </Empty>
  );
}

function Begin() {
  return (
    <Empty title="No stack is registered">
      <p>A directory with <code>*.tf</code> and a <code>stackly.hcl</code> becomes one when it is pushed to a known repository:</p>
      <pre className="command"><code>stackly repo add URL</code></pre>
    </Empty>
  );
}

function Filters({ status, repo }: { status: string | null; repo: string | null }) {
  const id = useId();
  function choose(value: string) {
    go(withQuery("/stacks", { repo, ...(value === "all" ? { all: "true" } : { status: value }) }));
  }
  return (
    <form className="filters" onSubmit={(event) => { event.preventDefault(); }}>
      {repo && <span><Link href={withQuery("/stacks", { status })}>Of all repositories</Link></span>}
      <span><label htmlFor={id}>Status</label>
      <select id={id} value={status ?? ""} onChange={(event) => { choose(event.target.value); }}>
        {CHOICES.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
      </select></span>
    </form>
  );
}

/** What waits for a person comes first, whatever its name. */
function Loose() {
  const { data } = usePolled<Page<Stack>>(withQuery("stacks", { status: "loose", limit: LOOSE_SHOWN }), EVERY_MS);
  if (!data || data.items.length === 0) return null;
  return (
    <div className="notice" role="status">
      <Mark name="loose" label={data.next ? "Loose stacks" : plural(data.items.length, "loose stack")} />: their code is gone, what they deployed is not.{" "}
      {data.items.map((stack, i) => <span key={stack.id}>{i > 0 && ", "}<Link href={`/stacks/${stack.id}`}>{stack.name}</Link></span>)}
      {data.next && <>, <Link href="/stacks?status=loose">and more</Link></>}
    </div>
  );
}

function StackTable({ stacks }: { stacks: Stack[] }) {
  const now = useNow(true);
  return (
    <table className="list stacks" role="table">
      <caption className="unseen">Stacks by name</caption>
      <thead role="rowgroup">
        <tr role="row">
          {["Status", "Stack", "Where", "Commit", "Registered"].map((name) => <th key={name} role="columnheader" scope="col">{name}</th>)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {stacks.map((stack) => (
          <tr key={stack.id} role="row">
            <td role="cell" className="c-status"><StackMark status={stack.status} /></td>
            <td role="cell" className="c-run">
              <Link href={`/stacks/${stack.id}`}>{stack.name}</Link> <span className="kind">{stack.kind}</span>
              <Told stack={stack} now={now} />
            </td>
            <td role="cell" className="c-stack"><Link className="plain" href={`/repos/${stack.repo_id}`}>{stack.repo}</Link>{stack.path === "." ? "" : ` ${stack.path}`}</td>
            <td role="cell" className="c-commit"><span className="branch">{branchOf(stack.ref)}</span> <code title={stack.commit}>{commit(stack.commit)}</code></td>
            <td role="cell" className="c-started" title={moment(stack.registered_at)}><Ago at={stack.registered_at} now={now} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Why it is as it is, in full, and what happens next by itself. */
function Told({ stack, now }: { stack: Stack; now: number }) {
  const due = stack.states.filter((state) => state.destroy_at);
  return (
    <>
      {stack.reason && <div className="why"><Prose text={stack.reason} /></div>}
      {stack.errors.length > 0 && <div className="why">{plural(stack.errors.length, "error")} in its files</div>}
      {due.map((state) => (
        <div key={state.id} className="why">State {state.name} is destroyed <Ago at={state.destroy_at ?? ""} now={now} /> unless somebody acts.</div>
      ))}
    </>
  );
}
