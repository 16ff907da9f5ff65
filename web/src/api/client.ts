/** Asking the API: one way to read, one way to change, one kind of error. */
import type { Problem } from "./types";

const ROOT = "/api/v1";

/** The API said no, or could not be reached (`status` 0). */
export class ApiError extends Error {
  readonly status: number;
  readonly title: string;
  /** Where several things stand against it: each of them. */
  readonly problems: readonly string[];

  constructor(status: number, title: string, detail: string, problems: readonly string[] = []) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.problems = problems;
  }
}

const signedOut = new Set<() => void>();

/** Call `listener` whenever an answer says that the session has ended; returns how to stop. */
export function onSignedOut(listener: () => void): () => void {
  signedOut.add(listener);
  return () => signedOut.delete(listener);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const answer = await ask(path, { ...(signal && { signal }) });
  return (await answer.json()) as T;
}

/** Change something. `key` makes a repeat harmless: the same key is answered, not done again. */
export async function post<T>(path: string, body: unknown, key: string): Promise<T> {
  const answer = await ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: JSON.stringify(body),
  });
  return (await answer.json()) as T;
}

/** A successful answer; throws ApiError for every other. */
export async function ask(path: string, init: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path.startsWith("/") ? path : `${ROOT}/${path}`, { ...init, credentials: "same-origin" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "Stackly cannot be reached.", "It is asked again by itself; `stackly status` shows what is down.");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) signedOut.forEach((tell) => { tell(); });
  throw await refusal(answer);
}

async function refusal(answer: Response): Promise<ApiError> {
  try {
    const problem = (await answer.json()) as Partial<Problem> & { problems?: unknown };
    const problems = Array.isArray(problem.problems) ? problem.problems.filter((p) => typeof p === "string") : [];
    return new ApiError(answer.status, problem.title ?? answer.statusText, problem.detail ?? "", problems);
  } catch {
    return new ApiError(answer.status, `The server answered ${answer.status}.`, "");
  }
}

/** An address with only the values that are there. */
export function withQuery(path: string, values: Record<string, string | number | null | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}
