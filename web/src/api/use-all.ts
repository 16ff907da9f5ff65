import { useEffect, useState } from "react";

import { ApiError, get, withQuery } from "./client";
import type { Page } from "./types";

const A_PAGE = 200;

export interface All<T> {
  items: T[];
  error: ApiError | null;
  done: boolean;
}

const NOTHING: All<never> = { items: [], error: null, done: false };

/** Every page of a list, one after the other, once; what came so far is shown meanwhile. `path` may hold a query. */
export function useAll<T>(path: string): All<T> {
  const [kept, setKept] = useState<All<T> & { path: string }>({ ...NOTHING, path });

  useEffect(() => {
    const aborter = new AbortController();
    async function readAll() {
      let items: T[] = [];
      let cursor: string | null | undefined = null;
      do {
        const [address = "", query = ""] = path.split("?", 2);
        const asked = withQuery(address, { ...Object.fromEntries(new URLSearchParams(query)), limit: A_PAGE, cursor });
        const page: Page<T> = await get<Page<T>>(asked, aborter.signal);
        items = [...items, ...page.items];
        cursor = page.next;
        setKept({ path, items, error: null, done: !cursor });
      } while (cursor);
    }
    readAll().catch((error: unknown) => {
      if (aborter.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      setKept((old) => ({ path, items: old.path === path ? old.items : [], error, done: true }));
    });
    return () => { aborter.abort(); };
  }, [path]);

  return kept.path === path ? kept : NOTHING;
}
