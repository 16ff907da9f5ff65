import { useState } from "react";

import { withQuery } from "../api/client";
import type { Delivery, Page, Ref, Repository } from "../api/types";
import { useDoing, type Doing } from "../api/use-doing";
import { usePolled } from "../api/use-polled";
import { branchOf, commit, moment } from "../format";
import { Mark, None } from "../marks";
import { Loading, Pager, Prose, Refusal, useTitle } from "../parts";
import { Link, usePlace } from "../router";
import { useMay } from "../session";
import { Ago, useNow } from "../time";
import { RepoMark } from "./repos-page";
import { canRedeliver, failedRefs, hearing, meaningOf } from "./state";

const EVERY_MS = 5000;

export function RepoPage({ id }: { id: string }) {
  const { data: repo, error, refresh } = usePolled<Repository>(`repos/${encodeURIComponent(id)}`, EVERY_MS);
  useTitle(repo ? repo.full_name : "Repository");
  if (repo === null) return error ? <Refusal error={error} /> : <Loading what="the repository" />;
  const meaning = meaningOf(repo.status);
  return (
    <>
      <p className="trail"><Link href="/repos">Repositories</Link></p>
      <div className="run-head">
        <h1>{repo.full_name} <RepoMark repo={repo} /></h1>
        <Sync repo={repo} onAsked={refresh} />
      </div>
      <Refusal error={error} />
      {meaning && <p className="notice">{meaning}</p>}
      <Facts repo={repo} />
      <Refs repo={repo} />
      <Deliveries repo={repo} />
    </>
  );
}

// Operators get the push credential in the address, for scripts; a screen is no place for it.
function withoutCredential(address: string): string {
  return address.replace(/^([a-z]+:\/\/)[^/@]*@/, "$1");
}

function Facts({ repo }: { repo: Repository }) {
  const isToldByRefs = repo.status === "active" && failedRefs(repo).length > 0;
  return (
    <dl className="facts">
      {repo.reason && !isToldByRefs && <><dt>Reason</dt><dd><Prose text={repo.reason} /></dd></>}
      <dt>Cloned from</dt><dd><code>{withoutCredential(repo.clone_url)}</code></dd>
      <dt>Default branch</dt><dd>{repo.default_branch}</dd>
      <dt>Told by</dt><dd>{hearing(repo)}</dd>
      <dt>Added</dt><dd><time dateTime={repo.created_at}>{moment(repo.created_at)}</time></dd>
      <dt>Stacks</dt><dd><Link href={withQuery("/stacks", { repo: repo.id })}>Those of this repository</Link></dd>
    </dl>
  );
}

function Sync({ repo, onAsked }: { repo: Repository; onAsked: () => void }) {
  const mayOperate = useMay("operate");
  const doing = useDoing();
  const [asked, setAsked] = useState(false);
  if (!mayOperate || repo.status !== "active") return null;
  async function sync() {
    const done = await doing.run(`repos/${repo.id}/sync`, {});
    setAsked(done !== null);
    onAsked();
  }
  return (
    <>
      <div className="actions"><button type="button" disabled={doing.busy} onClick={() => void sync()}>Sync now</button></div>
      <Refusal error={doing.error} />
      <p className="state quiet" role="status">{asked && "It is compared with what was read last; what differs shows here."}</p>
    </>
  );
}

function Refs({ repo }: { repo: Repository }) {
  const now = useNow(true);
  const { refs } = repo;
  return (
    <section aria-labelledby="refs">
      <h2 id="refs">Refs</h2>
      {refs.length === 0 ? <p>Nothing of it was read yet.</p> : (
        <table className="list refs" role="table">
          <caption className="unseen">Refs and what was processed last, failed ones first</caption>
          <thead role="rowgroup"><tr role="row">{["Last sync", "Ref", "Processed last"].map((name) => <th key={name} role="columnheader" scope="col">{name}</th>)}</tr></thead>
          <tbody role="rowgroup">{refs.map((ref) => <RefRow key={ref.ref} found={ref} now={now} />)}</tbody>
        </table>
      )}
    </section>
  );
}

function RefRow({ found, now }: { found: Ref; now: number }) {
  return (
    <tr role="row">
      <td role="cell" className="c-status">{found.reason ? <Mark name="failed" chip /> : <Mark name="succeeded" label="read" />}</td>
      <td role="cell" className="c-run">
        <span className="branch">{branchOf(found.ref)}</span>
        {found.reason && <div className="why"><Prose text={found.reason} /></div>}
        {found.gone_since && <div className="why">The branch is not there since <Ago at={found.gone_since} now={now} />; its stacks are given up unless it comes back.</div>}
      </td>
      <td role="cell" className="c-commit">{found.last_processed ? <code title={found.last_processed}>{commit(found.last_processed)}</code> : <None>never processed</None>}</td>
    </tr>
  );
}

function Deliveries({ repo }: { repo: Repository }) {
  const cursor = usePlace().query.get("cursor");
  const path = `repos/${repo.id}/deliveries`;
  const { data, error, refresh } = usePolled<Page<Delivery>>(withQuery(path, { limit: 20, cursor }), EVERY_MS);
  const doing = useDoing();
  const [asked, setAsked] = useState<string | null>(null);
  const mayAsk = useMay("operate") && canRedeliver(repo);
  async function redeliver(guid: string) {
    setAsked(null);
    if (await doing.run(`repos/${repo.id}/redeliver`, { guid })) setAsked(guid);
    refresh();
  }
  return (
    <section aria-labelledby="deliveries">
      <h2 id="deliveries">Deliveries</h2>
      <p className="quiet">What arrived here. What never arrived is in GitHub's own log, which a sweep reads.</p>
      <Refusal error={error ?? doing.error} />
      <p className="quiet" role="status">{asked && <>GitHub was asked to send <code>{asked}</code> again.</>}</p>
      {data?.items.length === 0 && <p>Nothing arrived for it yet.</p>}
      {data !== null && data.items.length > 0 && <DeliveryTable items={data.items} doing={doing} onAgain={mayAsk ? (guid) => void redeliver(guid) : null} />}
      {data && <Pager path={`/repos/${repo.id}`} query={{}} cursor={cursor} next={data.next} noun="deliveries" />}
    </section>
  );
}

function DeliveryTable({ items, doing, onAgain }: { items: Delivery[]; doing: Doing; onAgain: ((guid: string) => void) | null }) {
  const now = useNow(true);
  const heads = ["Status", "Delivery", "Event", "Attempts", "Received"];
  return (
    <table className="list deliveries" role="table">
      <caption className="unseen">Deliveries, newest first</caption>
      <thead role="rowgroup">
        <tr role="row">
          {heads.map((name) => <th key={name} role="columnheader" scope="col">{name}</th>)}
          {onAgain && <th role="columnheader" scope="col"><span className="unseen">Action</span></th>}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {items.map((item) => (
          <tr key={item.guid} role="row">
            <td role="cell" className="c-status"><Mark name={item.status} /></td>
            <td role="cell" className="c-run"><code className="guid">{item.guid}</code>{item.reason && <div className="why"><Prose text={item.reason} /></div>}</td>
            <td role="cell" className="c-stack">{item.event}</td>
            <td role="cell" className="c-attempts">{item.attempts}<span className="narrow-only"> {item.attempts === 1 ? "attempt" : "attempts"}</span></td>
            <td role="cell" className="c-started"><Ago at={item.received_at} now={now} /></td>
            {onAgain && <td role="cell" className="c-act"><button type="button" disabled={doing.busy} aria-label={`Redeliver ${item.guid}`} onClick={() => { onAgain(item.guid); }}>Redeliver</button></td>}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
