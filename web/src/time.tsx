import { useEffect, useState } from "react";

import { moment, relative } from "./format";

/** The present moment, renewed every second while `ticking`. */
export function useNow(ticking: boolean): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!ticking) return;
    setNow(Date.now());
    const timer = setInterval(() => { setNow(Date.now()); }, 1000);
    return () => { clearInterval(timer); };
  }, [ticking]);
  return now;
}

export function Ago({ at, now }: { at: string; now: number }) {
  return <time dateTime={at} title={moment(at)}>{relative(at, now)}</time>;
}
