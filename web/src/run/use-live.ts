import { useEffect, useReducer, useState } from "react";

import { ApiError, ask } from "../api/client";
import { NOTHING_YET, advance, parse, type Live, type ServerEvent } from "./stream";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

export type Connection = "connecting" | "live" | "away" | "ended";

type Change = { forget: true } | { events: ServerEvent[] };

function reduce(live: Live, change: Change): Live {
  return "forget" in change ? NOTHING_YET : advance(live, change.events);
}

/** A run, live until it ends. A lost connection is taken up where it was; `error` is what no waiting can mend. */
export function useLive(run: string): { live: Live; connection: Connection; error: ApiError | null } {
  const [live, dispatch] = useReducer(reduce, NOTHING_YET);
  const [connection, setConnection] = useState<Connection>("connecting");
  const [error, setError] = useState<ApiError | null>(null);

  useEffect(() => {
    const aborter = new AbortController();
    dispatch({ forget: true });
    setConnection("connecting");
    setError(null);
    void follow(run, aborter.signal, { tell: (events) => { dispatch({ events }); }, connected: setConnection, failed: setError });
    return () => { aborter.abort(); };
  }, [run]);

  return { live, connection, error };
}

/** Asked anew: a signal changes while we wait, which the compiler cannot know. */
function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}

interface Listener {
  tell: (events: ServerEvent[]) => void;
  connected: (connection: Connection) => void;
  failed: (error: ApiError | null) => void;
}

async function follow(run: string, signal: AbortSignal, listener: Listener): Promise<void> {
  let seen = "";
  let waitMs = FIRST_WAIT_MS;
  while (!isOver(signal)) {
    try {
      for await (const events of read(run, seen, signal)) {
        waitMs = FIRST_WAIT_MS;
        listener.connected("live");
        listener.failed(null);
        if (events.length > 0) listener.tell(events);
        seen = events.findLast((event) => event.id !== "")?.id ?? seen;
        if (events.some((event) => event.name === "end")) {
          listener.connected("ended");
          return;
        }
      }
    } catch (error) {
      if (!isOver(signal) && error instanceof ApiError && error.status >= 400 && error.status < 500) {
        listener.failed(error);
        if (error.status !== 401 && error.status !== 429) return;
      }
    }
    if (isOver(signal)) return;
    listener.connected("away");
    await waited(waitMs, signal);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }
}

async function* read(run: string, seen: string, signal: AbortSignal): AsyncGenerator<ServerEvent[]> {
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (seen) headers["Last-Event-ID"] = seen;
  const answer = await ask(`runs/${encodeURIComponent(run)}/stream`, { headers, signal, cache: "no-store" });
  if (answer.body === null) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const { events, rest } = parse(buffer + value);
    buffer = rest;
    yield events;
  }
}

function waited(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
