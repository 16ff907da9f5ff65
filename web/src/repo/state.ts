/** What follows from a repository. Pure. */
import type { Ref, Repository } from "../api/types";

/** Where GitHub's number of a webhook stands: an App's serves the repository. */
const APP = "app";

export function failedRefs(repo: Repository): Ref[] {
  return repo.refs.filter((ref) => ref.reason);
}

export function processedRefs(repo: Repository): Ref[] {
  return repo.refs.filter((ref) => ref.last_processed);
}

export function canRedeliver(repo: Repository): boolean {
  return repo.status === "active" && repo.hook_id !== null && repo.hook_id !== APP;
}

/** How GitHub tells of pushes. */
export function hearing(repo: Repository): string {
  if (repo.hook_id === null) return "no webhook yet";
  return repo.hook_id === APP ? "the App's webhook" : `a webhook of its own, ${repo.hook_id}`;
}

const OUT_OF_REACH: Record<string, string> = {
  suspended: "GitHub's App is suspended there. Nothing of it is read and no run starts; what is deployed stays as it is.",
  archived: "It is archived on GitHub. No run starts; what is deployed stays as it is.",
  deleted: "It was deleted on GitHub. Nothing was destroyed for that: its states can still be destroyed or associated.",
  uninstalled: "The App was removed from it. Nothing of it is read and no run starts; what is deployed stays as it is.",
};

/** What a status other than active means for its stacks. */
export function meaningOf(status: string): string | null {
  return OUT_OF_REACH[status] ?? null;
}
