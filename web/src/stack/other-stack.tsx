import type { Stack } from "../api/types";
import { usePolled } from "../api/use-polled";
import { Link } from "../router";

/** Another stack by where it stands; while that is not known, by its id. */
export function OtherStack({ id }: { id: string }) {
  const { data } = usePolled<Stack>(`stacks/${encodeURIComponent(id)}`, 0);
  return <Link href={`/stacks/${id}`}>{data ? <code>{data.path}</code> : <span className="id">{id}</span>}</Link>;
}
