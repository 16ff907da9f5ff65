import type { ReactNode } from "react";

import { AgentsPage } from "./agents-page";
import { InventoryPage } from "./inventory-page";
import { RepoPage } from "./repo/repo-page";
import { ReposPage } from "./repo/repos-page";
import { Link, usePlace } from "./router";
import { RunPage } from "./run/run-page";
import { RunsPage } from "./runs-page";
import { Session, useMe } from "./session";
import { StackPage } from "./stack/stack-page";
import { StacksPage } from "./stacks-page";

const ROOMS: readonly [path: string, name: string][] = [
  ["runs", "Runs"], ["stacks", "Stacks"], ["repos", "Repositories"], ["agents", "Agents"], ["inventory", "Inventory"],
];

export function App() {
  return (
    <Session>
      <a className="skip" href="#content">Skip to content</a>
      <Head />
      <main id="content" tabIndex={-1}><Room /></main>
      <footer className="foot">Times in {Intl.DateTimeFormat().resolvedOptions().timeZone}.</footer>
    </Session>
  );
}

function Head() {
  const [room = "runs"] = usePlace().parts;
  const me = useMe();
  return (
    <header className="band"><div className="head">
      <Link className="name" href="/">Stackly</Link>
      <nav aria-label="Rooms">
        {ROOMS.map(([path, name]) => (
          <Link key={path} href={`/${path}`} aria-current={room === path ? "page" : undefined}>{name}</Link>
        ))}
      </nav>
      {me && <span className="me quiet" title={me.roles.join(", ")}>{me.login}</span>}
    </div></header>
  );
}

function Room(): ReactNode {
  const { parts } = usePlace();
  const [room = "runs", id] = parts;
  if (parts.length > 2) return <Nowhere />;
  if (room === "runs") return id ? <RunPage key={id} id={id} /> : <RunsPage />;
  if (room === "stacks") return id ? <StackPage key={id} id={id} /> : <StacksPage />;
  if (room === "repos") return id ? <RepoPage key={id} id={id} /> : <ReposPage />;
  if (room === "agents" && !id) return <AgentsPage />;
  if (room === "inventory" && !id) return <InventoryPage />;
  return <Nowhere />;
}

function Nowhere() {
  return (
    <div className="empty">
      <h1>There is no such page</h1>
      <p><Link href="/">All runs</Link> is where everything begins.</p>
    </div>
  );
}
