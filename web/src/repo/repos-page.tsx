import { withQuery } from "../api/client";
import type { Page, Repository } from "../api/types";
import { usePolled } from "../api/use-polled";
import { plural } from "../format";
import { Mark, None } from "../marks";
import { Empty, Loading, Pager, Prose, Refusal, useTitle } from "../parts";
import { Link, usePlace } from "../router";
import { Ago, useNow } from "../time";
import { failedRefs, processedRefs } from "./state";

const EVERY_MS = 5000;

export function ReposPage() {
  useTitle("Repositories");
  const cursor = usePlace().query.get("cursor");
  const { data, error } = usePolled<Page<Repository>>(withQuery("repos", { cursor }), EVERY_MS);
  return (
    <>
      <div className="title-row"><h1>Repositories</h1></div>
      <Refusal error={error} />
      {data === null && error === null && <Loading what="repositories" />}
      {data?.items.length === 0 && (
        <Empty title="No repository is connected">
          <p>Connect one by its address; its branches are read at once:</p>
          <pre className="command"><code>stackly repo add URL</code></pre>
        </Empty>
      )}
      {data !== null && data.items.length > 0 && <RepoTable repos={data.items} />}
      {data && <Pager path="/repos" query={{}} cursor={cursor} next={data.next} noun="repositories" />}
    </>
  );
}

function RepoTable({ repos }: { repos: Repository[] }) {
  const now = useNow(true);
  return (
    <table className="list repos" role="table">
      <caption className="unseen">Repositories by name</caption>
      <thead role="rowgroup">
        <tr role="row">{["Status", "Repository", "Default branch", "Refs", "Added"].map((name) => <th key={name} role="columnheader" scope="col">{name}</th>)}</tr>
      </thead>
      <tbody role="rowgroup">
        {repos.map((repo) => (
          <tr key={repo.id} role="row">
            <td role="cell" className="c-status"><RepoMark repo={repo} /></td>
            <td role="cell" className="c-run">
              <Link href={`/repos/${repo.id}`}>{repo.full_name}</Link>
              {repo.reason && <div className="why"><Prose text={repo.reason} /></div>}
            </td>
            <td role="cell" className="c-stack">{repo.default_branch}</td>
            <td role="cell" className="c-commit">{processedRefs(repo).length > 0 ? `${plural(processedRefs(repo).length, "ref")} read` : <None>nothing read yet</None>}</td>
            <td role="cell" className="c-started"><Ago at={repo.created_at} now={now} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Its status; where that is well but a sync failed, that. */
export function RepoMark({ repo }: { repo: Repository }) {
  const failed = failedRefs(repo).length;
  if (repo.status === "active" && failed > 0) return <Mark name="failed" label={`${plural(failed, "ref")} failed`} chip />;
  if (repo.status === "active" && repo.reason) return <Mark name="failed" label="sync failed" chip />;
  return <Mark name={repo.status} chip={repo.status !== "active"} />;
}
