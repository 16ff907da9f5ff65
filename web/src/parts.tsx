/** What every page has: a heading, an error, an empty list, a next page. */
import { useEffect, type ReactNode } from "react";

import type { ApiError } from "./api/client";
import { withQuery } from "./api/client";
import { Link } from "./router";

export function useTitle(title: string) {
  useEffect(() => { document.title = `${title} · Stackly`; }, [title]);
}

/** What the server said no to, and everything that stands against it. */
export function Refusal({ error }: { error: ApiError | null }) {
  if (error === null || error.status === 401) return null;
  return (
    <div className="refusal" role="alert">
      <strong>{error.title}</strong>{" "}
      {error.problems.length > 1
        ? <ul>{error.problems.map((problem) => <li key={problem}><Prose text={problem} /></li>)}</ul>
        : error.message !== error.title && <Prose text={error.message} />}
    </div>
  );
}

/** A sentence of the server; what stands between backticks is something to type. */
export function Prose({ text }: { text: string }) {
  return <>{text.split("`").map((part, i) => i % 2 === 1 ? <code key={i}>{part}</code> : part)}</>;
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
