import { useRef, useState } from "react";

import { ApiError, post } from "./client";

export interface Doing {
  busy: boolean;
  error: ApiError | null;
  /** The answer, or null when it was refused: `error` says why then. */
  run: (path: string, body: unknown) => Promise<unknown>;
}

/** One POST at a time. A repeat of the same request after an error carries the same key: it cannot happen twice. */
export function useDoing(): Doing {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const kept = useRef({ about: "", key: "" });
  async function run(path: string, body: unknown): Promise<unknown> {
    const about = path + JSON.stringify(body);
    if (kept.current.about !== about) kept.current = { about, key: newKey() };
    setBusy(true);
    setError(null);
    try {
      const answer = await post<unknown>(path, body, kept.current.key);
      kept.current = { about: "", key: "" };
      return answer;
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure);
      return null;
    } finally {
      setBusy(false);
    }
  }
  return { busy, error, run };
}

/** crypto.randomUUID exists on secure origins only; a private network may well be plain HTTP. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
