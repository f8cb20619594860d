// What is around every page: who is signed in, whether what is shown is live, the way around.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { LogOut, Moon, Sun } from "lucide-react";
import { useEffect, useState } from "react";
import { api, data } from "../api/client";
import { follow, type LiveState } from "../api/live";
import { outdate, session, type Whoami } from "../api/queries";
import { toggleTheme, useTheme } from "../theme";
import { Failure, Loading } from "../ui/parts";
import { SignIn } from "./SignIn";

export function Shell() {
  const who = useQuery(session);
  if (who.isPending) return <Loading what="the dashboard" />;
  if (who.error && who.data === undefined)
    return (
      <main className="mx-auto max-w-md p-6">
        <Failure error={who.error} />
      </main>
    );
  return who.data ? <SignedIn who={who.data} /> : <SignIn />;
}

function SignedIn({ who }: { who: Whoami }) {
  const live = useLive(who.principal);
  const path = useRouterState({ select: (it) => it.location.pathname });
  // A new page is announced and begins at its top.
  useEffect(() => {
    document.getElementById("main")?.setAttribute("data-path", path);
  }, [path]);
  const admin = who.grants.some((it) => it.role === "admin" || it.role === "operator");
  return (
    <>
      <a href="#main" className="sr-only focus:not-sr-only focus:absolute focus:z-30 focus:p-3">
        Skip to the content
      </a>
      <header className="border-b border-line bg-card">
        <div className="mx-auto flex max-w-6xl flex-wrap items-center gap-x-5 gap-y-1 px-4 py-2.5">
          <Link
            to="/"
            className="flex items-center gap-2 font-semibold text-ink hover:no-underline"
          >
            <Mark /> Sluice
          </Link>
          <nav aria-label="Main" className="flex gap-4 text-sm">
            <Link to="/" activeOptions={{ exact: true }} activeProps={ACTIVE}>
              Apps
            </Link>
            {admin && (
              <Link to="/admin" activeProps={ACTIVE}>
                Admin
              </Link>
            )}
          </nav>
          <div className="ml-auto flex items-center gap-3 text-sm text-dim">
            <Live state={live} />
            <span className="hidden max-w-48 truncate sm:inline" title={rights(who)}>
              {who.principal}
            </span>
            <ThemeButton />
            <SignOut />
          </div>
        </div>
      </header>
      <main id="main" tabIndex={-1} className="mx-auto max-w-6xl px-4 py-5 outline-none">
        <Outlet />
      </main>
    </>
  );
}

const ACTIVE = { className: "font-semibold text-ink underline" };

function rights(who: Whoami): string {
  const grants = who.grants.map((it) => `${it.role} in ${it.project ?? "all projects"}`);
  const groups = who.groups.length > 0 ? [`groups: ${who.groups.join(", ")}`] : [];
  return [who.principal, ...grants, ...groups].join("\n");
}

/** Follows what is committed, and makes old what it changes. */
function useLive(principal: string): LiveState {
  const client = useQueryClient();
  const [state, setState] = useState<LiveState>("connecting");
  // biome-ignore lint/correctness/useExhaustiveDependencies: somebody else sees other events
  useEffect(() => {
    const stop = new AbortController();
    const listener = {
      onEvent: (event: Parameters<typeof outdate>[1]) => outdate(client, event),
      onState: setState,
      onFresh: () => void client.invalidateQueries(),
      onSignedOut: () => client.setQueryData(session.queryKey, null),
    };
    void follow(listener, stop.signal);
    return () => stop.abort();
  }, [client, principal]);
  return state;
}

const LIVE: Record<LiveState, [string, string]> = {
  live: ["live", "bg-good"],
  connecting: ["connecting", "bg-wait"],
  broken: ["not live: trying again", "bg-bad"],
};

function Live({ state }: { state: LiveState }) {
  const [text, colour] = LIVE[state];
  return (
    <span role="status" className="flex items-center gap-1.5 text-xs whitespace-nowrap">
      <span aria-hidden className={`size-2 rounded-full ${colour}`} />
      {text}
    </span>
  );
}

const ICON =
  "inline-flex size-9 cursor-pointer items-center justify-center rounded-md text-dim hover:bg-ground";

function ThemeButton() {
  const dark = useTheme() === "dark";
  return (
    <button
      type="button"
      className={ICON}
      onClick={toggleTheme}
      aria-label={dark ? "Light colours" : "Dark colours"}
    >
      {dark ? <Sun size={17} aria-hidden /> : <Moon size={17} aria-hidden />}
    </button>
  );
}

function SignOut() {
  const client = useQueryClient();
  async function leave() {
    await data(api.DELETE("/api/v1/session")).catch(() => undefined);
    client.setQueryData(session.queryKey, null);
    client.removeQueries({ predicate: (it) => it.queryKey[0] !== "session" });
  }
  return (
    <button type="button" className={ICON} onClick={leave} aria-label="Sign out">
      <LogOut size={17} aria-hidden />
    </button>
  );
}

export function Mark() {
  return (
    <svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="#0f5ea8" />
      <path
        d="M7 8h18M7 8v16M25 8v16M11 15h10v9H11z"
        fill="none"
        stroke="#fff"
        strokeWidth="3"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}
