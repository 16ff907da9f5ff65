import { describe, expect, it } from "vitest";

import type { History, Stack, StackState } from "../api/types";
import { mayStillBeCalledOff, targetsFor } from "./state";

function stack(id: string, more: Partial<Stack> = {}): Stack {
  return {
    id, name: id, repo: "acme/shop", repo_id: "r1", path: id, ref: "refs/heads/main", status: "active", kind: "plain",
    reason: null, commit: "c", registered_at: "2026-01-01T00:00:00.000Z", moved_from: null, errors: [], states: [], version: null, warnings: [], ...more,
  };
}

function state(more: Partial<StackState> = {}): StackState {
  return { id: "s", name: "default", status: "loose", commit: null, environment: null, last_run: null, ...more };
}

describe("targetsFor", () => {
  it("puts where the code went first, then its own repository, and leaves out what cannot take a state", () => {
    const all = [
      stack("zed"), stack("other", { repo_id: "r2", repo: "acme/a" }), stack("moved", { path: "z/moved" }),
      stack("bench", { kind: "ephemeral" }), stack("gone", { status: "loose" }), stack("me"), stack("app"),
    ];
    expect(targetsFor(stack("me"), state({ successor: "moved" }), all).map((s) => s.id)).toEqual(["moved", "app", "zed", "other"]);
  });
});

describe("mayStillBeCalledOff", () => {
  const queued = { id: "run", kind: "destroy", status: "queued" } as History;
  it("is true of a timer and of a destroy that has not begun, and of nothing else", () => {
    expect(mayStillBeCalledOff(state({ destroy_at: "2026-01-01T00:00:00.000Z" }), [])).toBe(true);
    expect(mayStillBeCalledOff(state({ status: "destroying", last_run: "run" }), [queued])).toBe(true);
    expect(mayStillBeCalledOff(state({ status: "destroying", last_run: "run" }), [{ ...queued, status: "applying" }])).toBe(false);
    expect(mayStillBeCalledOff(state(), [queued])).toBe(false);
  });
});
