/** What every page has: a heading, an error, an empty list, a next page. */
import { useEffect, type ReactNode } from "react";

import type { ApiError } from "./api/client";
import { withQuery } from "./api/client";
import { Link } from "./router";

export function useTitle(title: string) {
  useEffect(() => { document.title = `${title} · Stackly`; }, [title]);
}

export function Refusal({ error }: { error: ApiError | null }) {
  if (error === null || error.status === 401) return null;
  return (
    <p className="refusal" role="alert">
      <strong>{error.title}</strong> {error.message !== error.title && error.message}
    </p>
  );
}

export function Loading({ what }: { what: string }) {
  return <p className="quiet" role="status">Reading {what} …</p>;
}

export function Empty({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

interface PagerProps {
  path: string;
  query: Record<string, string | null>;
  cursor: string | null;
  next: string | null | undefined;
  noun: string;
}

/** Newest and older. Addresses hold the cursor, so the browser's back button is the way back. */
export function Pager({ path, query, cursor, next, noun }: PagerProps) {
  if (!cursor && !next) return null;
  return (
    <nav className="pager" aria-label="Pages">
      {cursor ? <Link href={withQuery(path, query)}>First page</Link> : <span />}
      {next ? <Link href={withQuery(path, { ...query, cursor: next })}>More {noun} →</Link> : <span className="quiet">No more {noun}</span>}
    </nav>
  );
}
