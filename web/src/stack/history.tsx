import { useState } from "react";

import { withQuery } from "../api/client";
import type { History, Page, Stack } from "../api/types";
import { usePolled } from "../api/use-polled";
import { commit, words } from "../format";
import { Mark, None } from "../marks";
import { Prose, Refusal } from "../parts";
import { Link } from "../router";
import { Ago, useNow } from "../time";

const EVERY_MS = 5000;
export const HISTORY_PAGE = 20;

/** What changed its states: from which commit to which, who wanted it, and how it ended. The newest are known already. */
export function HistoryOf({ stack, newest }: { stack: Stack; newest: Page<History> | null }) {
  const [cursor, setCursor] = useState<string | null>(null);
  const older = usePolled<Page<History>>(cursor === null ? null : withQuery(`stacks/${stack.id}/history`, { limit: HISTORY_PAGE, cursor }), EVERY_MS);
  const { error } = older;
  const data = cursor === null ? newest : older.data;
  return (
    <section aria-labelledby="history">
      <h2 id="history">History</h2>
      <Refusal error={error} />
      {data?.items.length === 0 && <None>No run of it yet.</None>}
      {data !== null && data.items.length > 0 && <HistoryTable items={data.items} />}
      {(cursor !== null || data?.next) && (
        <nav className="pager" aria-label="Pages of the history">
          {cursor === null ? <span /> : <button type="button" onClick={() => { setCursor(null); }}>Newest</button>}
          {data?.next && <button type="button" onClick={() => { setCursor(data.next ?? null); }}>Older →</button>}
        </nav>
      )}
    </section>
  );
}

function HistoryTable({ items }: { items: History[] }) {
  const now = useNow(true);
  return (
    <table className="list history" role="table">
      <caption className="unseen">Runs of its states, newest first</caption>
      <thead role="rowgroup">
        <tr role="row">
          {["Status", "Run", "State", "Commit", "By", "Asked"].map((name) => <th key={name} role="columnheader" scope="col">{name}</th>)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {items.map((item) => (
          <tr key={item.id} role="row">
            <td role="cell" className="c-status"><Mark name={item.status} /></td>
            <td role="cell" className="c-run">
              <Link className="id" href={`/runs/${item.id}`}>{item.id}</Link> <span className="kind">{words(item.kind)}{item.changed === false && item.kind !== "destroy" ? ", nothing differed" : ""}</span>
              {item.why && <div className="why">{item.why}</div>}
              {item.reason && item.reason !== item.why && <div className="why"><Prose text={item.reason} /></div>}
            </td>
            <td role="cell" className="c-stack">{item.state}</td>
            <td role="cell" className="c-commit">
              {item.from_commit && item.from_commit !== item.to_commit && <><code title={item.from_commit}>{commit(item.from_commit)}</code> → </>}
              <code title={item.to_commit}>{commit(item.to_commit)}</code>
            </td>
            <td role="cell" className="c-actor">{item.actor ?? <None />}</td>
            <td role="cell" className="c-started"><Ago at={item.created_at} now={now} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
