import { useEffect, useState } from "react";

import type { Explanation, Run } from "../api/types";
import { usePolled } from "../api/use-polled";
import { duration, span, words } from "../format";
import { Mark } from "../marks";
import { Loading, Refusal, useTitle } from "../parts";
import { Link } from "../router";
import { useNow } from "../time";
import { Actions } from "./actions";
import { Log } from "./log";
import { isOpen } from "./state";
import type { Live } from "./stream";
import { Summary } from "./summary";
import { Tests } from "./tests";
import { Timeline } from "./timeline";
import { useLive, type Connection } from "./use-live";
import { Why } from "./why";

const WHY_EVERY_MS = 10_000;

export function RunPage({ id }: { id: string }) {
  const { live, connection, error } = useLive(id);
  const { run } = live;
  useTitle(run ? `${words(run.status)}: ${run.stack} ${run.kind}` : "Run");
  if (run === null) return error ? <Refusal error={error} /> : <Loading what="the run" />;
  return <Opened run={run} live={live} connection={connection} />;
}

function Opened({ run, live, connection }: { run: Run; live: Live; connection: Connection }) {
  const open = isOpen(run.status);
  const now = useNow(open);
  const why = usePolled<Explanation>(`explain/run/${run.id}`, open ? WHY_EVERY_MS : 0);
  const { refresh } = why;
  useEffect(refresh, [run.status, run.decision_id, run.waiting?.reason, refresh]);
  return (
    <>
      <p className="trail"><Link href="/runs">Runs</Link></p>
      <div className="run-head">
        <h1><span className="quiet">{words(run.kind)}</span> <span className="id">{run.id}</span></h1>
        <p className="state" aria-live="polite">
          <Mark name={run.status} /> {took(run, now)}
          {run.cancel_requested && open && <span className="quiet"> · cancelling</span>}
        </p>
        <Actions run={run} />
      </div>
      {connection === "away" && <p className="notice" role="status">The connection is lost; what is shown may be old. Trying again …</p>}
      {open && run.started_at && <Progress live={live} />}
      <Summary run={run} now={now} />
      <Timeline run={run} now={now} />
      <Tests run={run} live={live} />
      <Refusal error={why.error} />
      {why.data && <Why explanation={why.data} />}
      <Log live={live} />
    </>
  );
}

function took(run: Run, now: number): string {
  const time = span(run.started_at, run.ended_at, now);
  if (time === null) return run.ended_at ? "before it started" : `for ${duration(span(run.created_at, null, now))}`;
  return `${isOpen(run.status) ? "for" : "in"} ${duration(time)}`;
}

/** Spoken only when the phase changes; the bar and the speed move in silence. */
function Progress({ live }: { live: Live }) {
  const { progress } = live;
  const [shown, setShown] = useState(0);
  const percent = progress?.percent ?? 0;
  useEffect(() => { setShown((before) => Math.max(before, percent)); }, [percent]);
  if (progress === null) return null;
  return (
    <div className="progress">
      <progress max={100} value={shown} aria-label="Progress of the run" />
      <span className="num">{shown}%</span>
      <span aria-live="polite">{progress.phase ? words(progress.phase) : "waiting"}{progress.test && live.run && live.run.tests.length > 1 ? ` · ${progress.test}` : ""}</span>
      {progress.tps !== null && <span className="num tps">{Math.round(progress.tps).toLocaleString("en")} tps</span>}
    </div>
  );
}
