import { createContext, useCallback, useContext, useEffect, useState, type ReactNode } from "react";

import { ApiError, get, onSignedOut } from "./api/client";
import type { Person } from "./api/types";

const Me = createContext<Person | null>(null);

/** Who is signed in. Null while that is not known. */
export function useMe(): Person | null {
  return useContext(Me);
}

/** Whether the person may do it; the API decides again on every request. */
export function useMay(action: "operate" | "approve" | "register"): boolean {
  const roles = useMe()?.roles ?? [];
  return roles.includes("admin") || roles.includes(ROLE_OF[action] ?? "admin");
}

// Who besides administrators; what registers or ends stacks is theirs alone.
const ROLE_OF: Record<string, string> = { operate: "operator", approve: "approver" };

/** Shows the page to whoever is signed in, and to everybody else how to get a link. */
export function Session({ children }: { children: ReactNode }) {
  const [me, setMe] = useState<Person | null>(null);
  const [isOut, setIsOut] = useState(false);

  const look = useCallback(async () => {
    try {
      setMe(await get<Person>("me"));
      setIsOut(false);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }, []);

  useEffect(() => {
    const stop = onSignedOut(() => { setIsOut(true); });
    void look();
    return stop;
  }, [look]);

  // The link opens in another tab: coming back here is enough.
  useEffect(() => {
    if (!isOut) return;
    const again = () => void look();
    window.addEventListener("focus", again);
    return () => { window.removeEventListener("focus", again); };
  }, [isOut, look]);

  return isOut ? <SignIn onAgain={() => void look()} /> : <Me.Provider value={me}>{children}</Me.Provider>;
}

function SignIn({ onAgain }: { onAgain: () => void }) {
  return (
    <main className="alone">
      <h1>Sign in to Stackly</h1>
      <p>This browser has no session here, or its session has ended.</p>
      <p>On the machine that runs Stackly, ask for a link and open it in this browser:</p>
      <pre className="command"><code>stackly status</code></pre>
      <p className="quiet">The link works once. After opening it, this page continues by itself.</p>
      <button type="button" onClick={onAgain}>I have opened it</button>
    </main>
  );
}
