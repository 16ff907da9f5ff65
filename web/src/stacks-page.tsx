import { withQuery } from "./api/client";
import type { Page, Stack } from "./api/types";
import { usePolled } from "./api/use-polled";
import { commit, moment, plural } from "./format";
import { Mark } from "./marks";
import { Empty, Loading, Pager, Refusal, useTitle } from "./parts";
import { Link, usePlace } from "./router";
import { useNow, Ago } from "./time";

const EVERY_MS = 5000;

export function StacksPage() {
  useTitle("Stacks");
  const { query } = usePlace();
  const cursor = query.get("cursor");
  const all = query.get("all");
  const { data, error } = usePolled<Page<Stack>>(withQuery("stacks", { all, cursor }), EVERY_MS);
  return (
    <>
      <div className="title-row">
        <h1>Stacks</h1>
        <p><Link href={all ? "/stacks" : "/stacks?all=true"}>{all ? "Hide deregistered ones" : "Show deregistered ones"}</Link></p>
      </div>
      <Refusal error={error} />
      {data === null && error === null && <Loading what="stacks" />}
      {data?.items.length === 0 && (
        <Empty title="No stack is registered">
          <p>A directory with <code>*.tf</code> and a <code>stackly.hcl</code> becomes one when it is pushed to a known repository:</p>
          <pre className="command"><code>stackly repo add URL</code></pre>
        </Empty>
      )}
      {data !== null && data.items.length > 0 && <StackTable stacks={data.items} />}
      {data && <Pager path="/stacks" query={{ all }} cursor={cursor} next={data.next} noun="stacks" />}
    </>
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
            <td role="cell" className="c-status">
              <Mark name={stack.status} />
              {stack.reason && <div className="why">{stack.reason}</div>}
              {stack.errors.length > 0 && <div className="why">{plural(stack.errors.length, "error")} in its files</div>}
            </td>
            <td role="cell" className="c-run"><Link href={`/stacks/${stack.id}`}>{stack.name}</Link> <span className="kind">{stack.kind}</span></td>
            <td role="cell" className="c-stack">{stack.repo}{stack.path === "." ? "" : `/${stack.path}`}</td>
            <td role="cell" className="c-commit"><span className="branch">{branchOf(stack.ref)}</span> <code title={stack.commit}>{commit(stack.commit)}</code></td>
            <td role="cell" className="c-started" title={moment(stack.registered_at)}><Ago at={stack.registered_at} now={now} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function branchOf(ref: string): string {
  return ref.replace(/^refs\/heads\//, "");
}
