import { withQuery } from "./api/client";
import type { Agent, Page } from "./api/types";
import { usePolled } from "./api/use-polled";
import { text } from "./format";
import { Mark, None } from "./marks";
import { Empty, Loading, Pager, Refusal, useTitle } from "./parts";
import { Link, usePlace } from "./router";
import { Ago, useNow } from "./time";

const EVERY_MS = 5000;

export function AgentsPage() {
  useTitle("Agents");
  const cursor = usePlace().query.get("cursor");
  const { data, error } = usePolled<Page<Agent>>(withQuery("agents", { cursor }), EVERY_MS);
  return (
    <>
      <h1>Agents</h1>
      <Refusal error={error} />
      {data === null && error === null && <Loading what="agents" />}
      {data?.items.length === 0 && (
        <Empty title="No agent has enrolled">
          <p>Without a site agent nothing can be created. The local one is a part of the platform:</p>
          <pre className="command"><code>stackly up</code></pre>
        </Empty>
      )}
      {data !== null && data.items.length > 0 && <AgentTable agents={data.items} />}
      {data && <Pager path="/agents" query={{}} cursor={cursor} next={data.next} noun="agents" />}
    </>
  );
}

function AgentTable({ agents }: { agents: Agent[] }) {
  const now = useNow(true);
  return (
    <table className="list agents" role="table">
      <caption className="unseen">Agents</caption>
      <thead role="rowgroup">
        <tr role="row">
          {["Status", "Agent", "Works on", "Can do", "Seen"].map((name) => <th key={name} role="columnheader" scope="col">{name}</th>)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {agents.map((agent) => (
          <tr key={agent.id} role="row">
            <td role="cell" className="c-status"><Mark name={agent.status} /></td>
            <td role="cell" className="c-run">{agent.name} <span className="kind">{agent.role}{agent.version && ` ${agent.version}`}</span></td>
            <td role="cell" className="c-stack">
              {agent.run_id ? <><Link className="id" href={`/runs/${agent.run_id}`}>{agent.run_id}</Link> {agent.test} {agent.machine}</> : <None />}
            </td>
            <td role="cell" className="c-commit"><Pairs values={{ ...agent.capabilities, ...agent.labels }} /></td>
            <td role="cell" className="c-started">{agent.seen_at ? <Ago at={agent.seen_at} now={now} /> : <None>never</None>}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Small facts in a line; lists lose their brackets. */
function Pairs({ values }: { values: Record<string, unknown> }) {
  const shown = Object.entries(values).filter(([, value]) => value !== null && value !== "");
  if (shown.length === 0) return <None />;
  return (
    <ul className="pairs">
      {shown.map(([name, value]) => (
        <li key={name}><span className="quiet">{name}</span> {Array.isArray(value) ? value.map(text).join(", ") : text(value)}</li>
      ))}
    </ul>
  );
}
