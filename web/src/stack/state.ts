/** What follows from a stack's or a state's status. Pure. */
import type { History, Stack, StackState } from "../api/types";

const HOLDING = new Set(["active", "loose", "destroying"]);

export function holdsResources(status: string): boolean {
  return HOLDING.has(status);
}

/** Whether a destroy is due later, or asked for and not begun. */
export function mayStillBeCalledOff(state: StackState, history: readonly History[]): boolean {
  if (state.destroy_at) return true;
  const last = history.find((run) => run.id === state.last_run);
  return state.status === "destroying" && last?.kind === "destroy" && last.status === "queued";
}

/** Stacks that can take a loose state over: where its code went first, then those of its own repository. */
export function targetsFor(stack: Stack, state: StackState, all: readonly Stack[]): Stack[] {
  const rank = (other: Stack) => other.id === state.successor ? 0 : other.repo_id === stack.repo_id ? 1 : 2;
  return all
    .filter((other) => other.status === "active" && other.kind === "plain" && other.id !== stack.id)
    .sort((a, b) => rank(a) - rank(b) || a.repo.localeCompare(b.repo) || a.path.localeCompare(b.path) || a.ref.localeCompare(b.ref));
}
