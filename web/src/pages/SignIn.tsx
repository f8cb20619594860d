// The door: a token, or the organisation's identity provider where one is set up.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, data } from "../api/client";
import { session } from "../api/queries";
import { Button, Failure, Field } from "../ui/parts";
import { Mark } from "./Shell";

interface Offer {
  oidc?: { name: string; loginUrl: string } | null;
}

/** What the server offers besides tokens; a server that says nothing offers nothing. */
async function offer(): Promise<Offer> {
  const answer = await fetch("/api/v1/auth");
  return answer.ok ? ((await answer.json()) as Offer) : {};
}

export function SignIn() {
  const client = useQueryClient();
  const offered = useQuery({
    queryKey: ["auth"],
    queryFn: offer,
    staleTime: Infinity,
    retry: false,
  });
  const [token, setToken] = useState("");
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const problem = new URLSearchParams(location.search).get("problem");
  async function enter(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      const who = await data(api.POST("/api/v1/session", { body: { token: token.trim() } }));
      client.removeQueries({ predicate: (it) => it.queryKey[0] !== "session" });
      client.setQueryData(session.queryKey, who);
      if (location.pathname === "/sign-in") history.replaceState(null, "", "/");
    } catch (it) {
      setError(it);
    } finally {
      setBusy(false);
    }
  }
  const oidc = offered.data?.oidc;
  const next = encodeURIComponent(location.pathname === "/sign-in" ? "/" : location.pathname);
  return (
    <main className="mx-auto flex min-h-screen max-w-sm flex-col justify-center gap-5 p-5">
      <h1 className="flex items-center gap-2.5">
        <Mark /> Sign in to Sluice
      </h1>
      {problem && <Failure error={new Error(problem)} />}
      {oidc && (
        <a
          href={`${oidc.loginUrl}?next=${next}`}
          className="flex min-h-10 items-center justify-center rounded-md bg-accent px-3 font-medium text-accent-ink hover:no-underline"
        >
          {oidc.name}
        </a>
      )}
      <form onSubmit={enter} className="space-y-3 rounded-lg border border-line bg-card p-4">
        <input type="text" name="username" autoComplete="username" value="sluice" hidden readOnly />
        <Field
          label="API token"
          name="token"
          type="password"
          autoComplete="current-password"
          required
          value={token}
          onChange={(event) => setToken(event.target.value)}
          placeholder="sluice_…"
          hint="Shown once when it was made; the first one by `sluice up` or `sluice migrate`."
        />
        <Failure error={error} />
        <Button type="submit" look={oidc ? "plain" : "main"} isDisabled={busy} className="w-full">
          {busy ? "Signing in …" : "Sign in with the token"}
        </Button>
      </form>
    </main>
  );
}
