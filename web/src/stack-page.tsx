import type { Explanation, Page, Run, Stack } from "./api/types";
import { usePolled } from "./api/use-polled";
import { withQuery } from "./api/client";
import { commit, moment, plural } from "./format";
import { Mark, None } from "./marks";
import { Loading, Refusal, useTitle } from "./parts";
import { Link } from "./router";
import { Why } from "./run/why";
import { RunTable } from "./runs-page";
import { branchOf } from "./stacks-page";

const EVERY_MS = 5000;

export function StackPage({ id }: { id: string }) {
  const { data: stack, error } = usePolled<Stack>(`stacks/${encodeURIComponent(id)}`, EVERY_MS);
  const { data: why } = usePolled<Explanation>(`explain/stack/${encodeURIComponent(id)}`, EVERY_MS);
  const { data: runs } = usePolled<Page<Run>>(withQuery("runs", { stack: id, limit: 20, all: "true" }), EVERY_MS);
  useTitle(stack ? `Stack ${stack.name}` : "Stack");
  if (stack === null) return error ? <Refusal error={error} /> : <Loading what="the stack" />;
  return (
    <>
      <p className="trail"><Link href="/stacks">Stacks</Link></p>
      <h1>{stack.name} <Mark name={stack.status} /></h1>
      <Refusal error={error} />
      <Facts stack={stack} />
      {stack.errors.length > 0 && <FileErrors stack={stack} />}
      <States stack={stack} />
      <section aria-labelledby="runs">
        <h2 id="runs">Runs</h2>
        {runs && runs.items.length > 0 ? <RunTable runs={runs.items} caption={`Runs of ${stack.name}, newest first`} /> : <None>No run of it yet.</None>}
        {runs?.next && <p><Link href={withQuery("/runs", { stack: stack.name })}>More runs →</Link></p>}
      </section>
      {why && <Why explanation={why} />}
    </>
  );
}

function Facts({ stack }: { stack: Stack }) {
  return (
    <dl className="facts">
      {stack.reason && <><dt>Reason</dt><dd>{stack.reason}</dd></>}
      <dt>Kind</dt><dd>{stack.kind}</dd>
      <dt>Code</dt><dd>{stack.repo} <code>{stack.path}</code> on {branchOf(stack.ref)} at <code title={stack.commit}>{commit(stack.commit)}</code></dd>
      <dt>Registered</dt><dd><time dateTime={stack.registered_at}>{moment(stack.registered_at)}</time>{stack.moved_from && <>, moved from <code>{stack.moved_from}</code></>}</dd>
    </dl>
  );
}

function FileErrors({ stack }: { stack: Stack }) {
  return (
    <section aria-labelledby="errors">
      <h2 id="errors">{plural(stack.errors.length, "error")} in its files</h2>
      <p className="quiet">Mend these and push again; the other stacks of the repository go on meanwhile.</p>
      <ol className="file-errors">
        {stack.errors.map((found, i) => (
          <li key={i}><code>{found.file}:{found.line}:{found.column}</code> <span>{found.message}</span></li>
        ))}
      </ol>
    </section>
  );
}

function States({ stack }: { stack: Stack }) {
  if (stack.states.length === 0) return null;
  return (
    <section aria-labelledby="states">
      <h2 id="states">States</h2>
      <table className="list plain">
        <thead><tr><th scope="col">State</th><th scope="col">Status</th><th scope="col">Commit</th><th scope="col">Last run</th></tr></thead>
        <tbody>
          {stack.states.map((state) => (
            <tr key={state.id}>
              <th scope="row">{state.name}{state.environment && <span className="kind"> {state.environment}</span>}</th>
              <td><Mark name={state.status} /></td>
              <td><code>{commit(state.commit)}</code></td>
              <td>{state.last_run ? <Link className="id" href={`/runs/${state.last_run}`}>{state.last_run}</Link> : <None />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
