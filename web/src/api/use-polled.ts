import { useCallback, useEffect, useRef, useState } from "react";

import { ApiError, get } from "./client";

export interface Polled<T> {
  data: T | null;
  error: ApiError | null;
  refresh: () => void;
}

interface Kept<T> {
  path: string | null;
  data: T | null;
  error: ApiError | null;
}

const NOTHING: Kept<never> = { path: null, data: null, error: null };

/**
 * What is at `path`, asked again every `everyMs` while the page is visible (0: once). An error keeps the last answer:
 * a moment without the API empties nothing. Null asks nothing.
 */
export function usePolled<T>(path: string | null, everyMs: number): Polled<T> {
  const [kept, setKept] = useState<Kept<T>>(NOTHING);
  const again = useRef<() => void>(() => undefined);

  useEffect(() => {
    if (path === null) return;
    const aborter = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let asking = false;

    async function look(address: string) {
      clearTimeout(timer);
      if (asking) return;
      asking = true;
      try {
        const data = await get<T>(address, aborter.signal);
        setKept({ path: address, data, error: null });
      } catch (error) {
        if (error instanceof ApiError && !aborter.signal.aborted) {
          setKept((old) => ({ path: address, data: old.path === address ? old.data : null, error }));
        }
      }
      asking = false;
      if (everyMs > 0 && !aborter.signal.aborted && !document.hidden) timer = setTimeout(() => void look(address), everyMs);
    }

    const lookNow = () => void look(path);
    const onShown = () => {
      if (!document.hidden) lookNow();
    };
    again.current = lookNow;
    document.addEventListener("visibilitychange", onShown);
    lookNow();
    return () => {
      aborter.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onShown);
    };
  }, [path, everyMs]);

  const refresh = useCallback(() => { again.current(); }, []);
  const current = kept.path === path ? kept : NOTHING;
  return { data: current.data, error: current.error, refresh };
}
