import { withQuery } from "./api/client";
import type { Inventory, Obligation, Page } from "./api/types";
import { usePolled } from "./api/use-polled";
import { plural } from "./format";
import { Mark, None } from "./marks";
import { Loading, Pager, Refusal, useTitle } from "./parts";
import { Link, usePlace } from "./router";
import { Ago, useNow } from "./time";

const EVERY_MS = 5000;

export function InventoryPage() {
  useTitle("Inventory");
  const cursor = usePlace().query.get("cursor");
  const inventory = usePolled<Inventory>("inventory", EVERY_MS);
  const owed = usePolled<Page<Obligation>>(withQuery("obligations", { status: "open", cursor }), EVERY_MS);
  return (
    <>
      <h1>Inventory</h1>
      <Refusal error={inventory.error ?? owed.error} />
      {inventory.data === null ? inventory.error === null && <Loading what="the inventory" /> : <Things inventory={inventory.data} />}
      {owed.data && <Owed page={owed.data} cursor={cursor} />}
    </>
  );
}

function Things({ inventory }: { inventory: Inventory }) {
  const now = useNow(true);
  const { leftovers, items } = inventory;
  return (
    <>
      <p className="lead" aria-live="polite">
        {leftovers === 0 ? <Mark name="met" label="Empty: nothing is left over" /> : <><Mark name="orphan" label={plural(leftovers, "leftover")} /> that no live state or run should hold</>}
      </p>
      {items.length === 0 ? <p className="quiet">Nothing exists on any target.</p> : (
        <table className="list inventory" role="table">
          <caption className="unseen">What exists on the targets</caption>
          <thead role="rowgroup">
            <tr role="row">{["Class", "Thing", "Target", "Run", "Since"].map((name) => <th key={name} role="columnheader" scope="col">{name}</th>)}</tr>
          </thead>
          <tbody role="rowgroup">
            {items.map((item) => (
              <tr key={`${item.target}/${item.kind}/${item.id}`} role="row">
                <td role="cell" className="c-status"><Mark name={item.class} /></td>
                <td role="cell" className="c-run"><span className="kind">{item.kind}</span> <code>{item.id}</code></td>
                <td role="cell" className="c-stack">{item.target}</td>
                <td role="cell" className="c-commit">{item.run_id ? <><Link className="id" href={`/runs/${item.run_id}`}>{item.run_id}</Link> {item.test}</> : <None>nobody</None>}</td>
                <td role="cell" className="c-started"><Ago at={item.since} now={now} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

function Owed({ page, cursor }: { page: Page<Obligation>; cursor: string | null }) {
  const now = useNow(true);
  return (
    <section aria-labelledby="owed">
      <h2 id="owed">Still owed</h2>
      <p className="quiet">Every apply owes a destroy until it is carried out and verified, or a person waives it.</p>
      {page.items.length === 0 ? <p>Nothing is owed.</p> : (
        <table className="list" role="table">
          <caption className="unseen">What is still to be destroyed</caption>
          <thead role="rowgroup">
            <tr role="row">{["Run", "Test", "Due", "Failed tries", "Reason"].map((name) => <th key={name} role="columnheader" scope="col">{name}</th>)}</tr>
          </thead>
          <tbody role="rowgroup">
            {page.items.map((item) => (
              <tr key={item.id} role="row">
                <td role="cell" className="c-run">
                  <Link className="id" href={`/runs/${item.run_id}`}>{item.run_id}</Link>
                  <div><Link href={`/stacks/${item.stack_id}`}>{item.stack}</Link> <span className="quiet">{item.repository}</span></div>
                </td>
                <td role="cell">{item.test ?? <None />}</td>
                <td role="cell" className="c-started"><Ago at={item.due_at} now={now} /></td>
                <td role="cell" className="num">{item.ladder}</td>
                <td role="cell" className="why">{item.reason ?? <None />}{item.reason && <div>Answer for it: <code>stackly obligation waive {item.id} --reason '...'</code></div>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <Pager path="/inventory" query={{}} cursor={cursor} next={page.next} noun="obligations" />
    </section>
  );
}
