import { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "react";

import type { LogLine } from "../api/types";
import { clock, plural } from "../format";
import type { Live } from "./stream";

const NEAR_PX = 24;

/** The log's tail. It follows while its end is in view, and stays where a reader scrolled to. */
export function Log({ live }: { live: Live }) {
  const id = useId();
  const [test, setTest] = useState("");
  const [follows, setFollows] = useState(true);
  const box = useRef<HTMLDivElement>(null);
  const tests = useMemo(() => [...new Set(live.log.map((line) => line.test).filter(Boolean))].sort(), [live.log]);
  const lines = useMemo(() => (test ? live.log.filter((line) => line.test === test) : live.log), [live.log, test]);

  useLayoutEffect(() => {
    if (follows && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, follows]);
  useEffect(() => {
    if (test && !tests.includes(test)) setTest("");
  }, [test, tests]);

  function scrolled() {
    const at = box.current;
    if (at) setFollows(at.scrollHeight - at.scrollTop - at.clientHeight < NEAR_PX);
  }

  if (live.log.length === 0) return null;
  return (
    <section aria-labelledby={`${id}-h`}>
      <div className="title-row">
        <h2 id={`${id}-h`}>Log</h2>
        {tests.length > 1 && (
          <form className="filters" onSubmit={(event) => { event.preventDefault(); }}>
            <label htmlFor={`${id}-t`}>Test</label>
            <select id={`${id}-t`} value={test} onChange={(event) => { setTest(event.target.value); }}>
              <option value="">all</option>
              {tests.map((name) => <option key={name}>{name}</option>)}
            </select>
          </form>
        )}
      </div>
      {live.logDropped > 0 && live.run && <p className="quiet">{plural(live.logDropped, "earlier line")} not shown; <code>stackly logs {live.run.id}</code> has them all.</p>}
      <div ref={box} className="log" role="log" aria-live="off" aria-labelledby={`${id}-h`} tabIndex={0} onScroll={scrolled}>
        {lines.map((line) => <Line key={line.id} line={line} />)}
      </div>
      {!follows && <button type="button" onClick={() => { setFollows(true); }}>Follow the end</button>}
    </section>
  );
}

function Line({ line }: { line: LogLine }) {
  return (
    <div className={`line ${line.level}`}>
      <time dateTime={line.at}>{clock(line.at)}</time> <span className="source">{line.source}</span>{" "}
      {line.level !== "info" && <span className="level">{line.level} </span>}<span className="told">{line.text}</span>
    </div>
  );
}
