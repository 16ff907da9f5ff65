/** Statuses and verdicts: always a shape and a word; the colour only helps. */
import type { ReactNode } from "react";

import { words } from "./format";

type Tone = "good" | "bad" | "warn" | "busy" | "still";
type Shape = "check" | "cross" | "bar" | "disc" | "ring" | "dash";

const MARKS: Record<string, [Tone, Shape]> = {
  succeeded: ["good", "check"], pass: ["good", "check"], better: ["good", "check"], same: ["good", "check"],
  allow: ["good", "check"], approved: ["good", "check"], approve: ["good", "check"], met: ["good", "check"],
  online: ["good", "disc"], active: ["good", "disc"],
  failed: ["bad", "cross"], fail: ["bad", "cross"], invalid: ["bad", "cross"], worse: ["bad", "cross"],
  block: ["bad", "cross"], deny: ["bad", "cross"], rejected: ["bad", "cross"], denied: ["bad", "cross"],
  orphan: ["bad", "cross"], overdue: ["bad", "cross"], offline: ["bad", "cross"], revoked: ["bad", "cross"],
  inconclusive: ["warn", "dash"], hold: ["warn", "bar"], awaiting_approval: ["warn", "bar"], loose: ["warn", "bar"],
  waived: ["warn", "dash"], no_run: ["still", "dash"],
  suspended: ["warn", "bar"], archived: ["warn", "bar"], uninstalled: ["bad", "cross"], deleted: ["bad", "cross"],
  received: ["good", "check"], ignored: ["still", "dash"], destroyed: ["still", "dash"], empty: ["still", "ring"],
  running: ["busy", "disc"], starting: ["busy", "disc"], planning: ["busy", "disc"], applying: ["busy", "disc"],
  recovering: ["busy", "disc"], tearing_down: ["busy", "disc"], destroying: ["busy", "disc"],
  queued: ["still", "ring"], waiting: ["still", "ring"], expected: ["still", "ring"], open: ["busy", "ring"],
};

const SHAPES: Record<Shape, ReactNode> = {
  check: <path d="M1.5 6.5 4.5 9.5 10.5 2.5" />,
  cross: <path d="M2 2l8 8M10 2l-8 8" />,
  bar: <path d="M4 1.5v9M8 1.5v9" />,
  dash: <path d="M1.5 6h9" />,
  ring: <circle cx="6" cy="6" r="4" />,
  disc: <circle className="filled" cx="6" cy="6" r="4" />,
};

export function toneOf(name: string): Tone {
  return MARKS[name]?.[0] ?? "still";
}

export function Mark({ name, label, chip = false }: { name: string; label?: string; chip?: boolean }) {
  const [tone, shape] = MARKS[name] ?? ["still", "dash"];
  return (
    <span className={`mark ${tone}${chip ? " chip" : ""}`}>
      <svg className={tone === "busy" ? "pulse" : undefined} viewBox="0 0 12 12" aria-hidden="true">{SHAPES[shape]}</svg>
      {label ?? words(name)}
    </span>
  );
}

/** What a person has to see to stands in a frame. */
export function StackMark({ status }: { status: string }) {
  return <Mark name={status} chip={status === "loose" || status === "rejected"} />;
}

/** The gate's answer in the words of the command line: a denied gate is shown as block. */
export function GateMark({ decision }: { decision: string }) {
  return <Mark name={decision === "deny" ? "block" : decision} />;
}

export function None({ children = "–" }: { children?: ReactNode }) {
  return <span className="quiet">{children}</span>;
}
