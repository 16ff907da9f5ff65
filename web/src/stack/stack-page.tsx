import { withQuery } from "../api/client";
import type { Explanation, History, Page, Run, Stack } from "../api/types";
import { usePolled } from "../api/use-polled";
import { branchOf, commit, moment, plural } from "../format";
import { None, StackMark } from "../marks";
import { Loading, Prose, Refusal, useTitle } from "../parts";
import { Link } from "../router";
import { Why } from "../run/why";
import { RunTable } from "../runs-page";
import { HISTORY_PAGE, HistoryOf } from "./history";
import { OtherStack } from "./other-stack";
import { States } from "./states";

const EVERY_MS = 5000;

export function StackPage({ id }: { id: string }) {
  const { data: stack, error, refresh } = usePolled<Stack>(`stacks/${encodeURIComponent(id)}`, EVERY_MS);
  const { data: why } = usePolled<Explanation>(`explain/stack/${encodeURIComponent(id)}`, EVERY_MS);
  const { data: history, refresh: refreshHistory } = usePolled<Page<History>>(withQuery(`stacks/${encodeURIComponent(id)}/history`, { limit: HISTORY_PAGE }), EVERY_MS);
  useTitle(stack ? `Stack ${stack.name}` : "Stack");
  if (stack === null) return error ? <Refusal error={error} /> : <Loading what="the stack" />;
  return (
    <>
      <p className="trail"><Link href="/stacks">Stacks</Link></p>
      <h1>{stack.name} <StackMark status={stack.status} /></h1>
      <Refusal error={error} />
      <Facts stack={stack} />
      {stack.errors.length > 0 && <FileErrors stack={stack} />}
      {stack.warnings.length > 0 && <FileWarnings warnings={stack.warnings} />}
      <States stack={stack} history={history?.items ?? []} onChanged={() => { refresh(); refreshHistory(); }} />
      {stack.kind === "plain" ? <HistoryOf stack={stack} newest={history} /> : <Runs stack={stack} />}
      {why && <Why explanation={why} />}
    </>
  );
}

function Facts({ stack }: { stack: Stack }) {
  const isToldByState = stack.states.some((state) => state.status === "loose" && state.reason === stack.reason);
  return (
    <dl className="facts">
      {stack.reason && !isToldByState && <><dt>Reason</dt><dd><Prose text={stack.reason} /></dd></>}
      <dt>Kind</dt><dd>{stack.kind}</dd>
      {stack.version && <><dt>Version</dt><dd>{stack.version}</dd></>}
      <dt>Code</dt>
      <dd>
        <Link href={`/repos/${stack.repo_id}`}>{stack.repo}</Link> {stack.path !== "." && <code>{stack.path}</code>} on {branchOf(stack.ref)} at <code title={stack.commit}>{commit(stack.commit)}</code>
        {stack.status === "loose" && <span className="quiet">, where it was seen last</span>}
      </dd>
      <dt>Registered</dt>
      <dd>
        <time dateTime={stack.registered_at}>{moment(stack.registered_at)}</time>
        {stack.moved_from && <>, moved from <OtherStack id={stack.moved_from} /></>}
      </dd>
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

function FileWarnings({ warnings }: { warnings: Stack["warnings"] }) {
  return (
    <section aria-labelledby="warnings">
      <h2 id="warnings">{plural(warnings.length, "warning")} about its files</h2>
      <p className="quiet">The stack goes on. What Stackly cannot read, Terraform judges at the plan of a run; what is not run yet is left out.</p>
      <ol className="file-errors">
        {warnings.map((found, i) => (
          <li key={i}>{found}</li>
        ))}
      </ol>
    </section>
  );
}

function Runs({ stack }: { stack: Stack }) {
  const { data: runs } = usePolled<Page<Run>>(withQuery("runs", { stack: stack.id, limit: 20, all: "true" }), EVERY_MS);
  return (
    <section aria-labelledby="runs">
      <h2 id="runs">Runs</h2>
      {runs === null ? <Loading what="its runs" /> : runs.items.length > 0 ? <RunTable runs={runs.items} caption={`Runs of ${stack.name}, newest first`} /> : <None>No run of it yet.</None>}
      {runs?.next && <p><Link href={withQuery("/runs", { stack: stack.id })}>More runs →</Link></p>}
    </section>
  );
}
