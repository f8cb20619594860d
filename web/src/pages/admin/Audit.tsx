// The audit log: every decision and every refused attempt, in a chain that shows tampering.
import { useInfiniteQuery } from "@tanstack/react-query";
import { ShieldAlert, ShieldCheck } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, data } from "../../api/client";
import { moment } from "../../time";
import { Badge, Button, Card, Choice, Empty, Failure, Field, Loading, Table } from "../../ui/parts";

interface Filter {
  by?: string;
  action?: string;
  app?: string;
  outcome?: "allowed" | "refused";
}

export function Audit() {
  const [filter, setFilter] = useState<Filter>({});
  const asked = useInfiniteQuery({
    queryKey: ["audit", filter],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) =>
      data(api.GET("/api/v1/audit", { params: { query: { ...filter, limit: 50, cursor: pageParam } } })),
    getNextPageParam: (page) => page.nextCursor ?? undefined,
  });
  const rows = asked.data?.pages.flatMap((it) => it.items) ?? [];
  function look(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name) ?? "").trim() || undefined;
    setFilter({
      by: text("by"),
      action: text("action"),
      app: text("app"),
      outcome: text("outcome") as Filter["outcome"],
    });
  }
  return (
    <Card title="Audit log" aside={<Verify />}>
      <form onSubmit={look} className="mb-4 grid items-end gap-3 sm:grid-cols-5">
        <Field label="By" name="by" placeholder="token:ci" />
        <Field label="Action" name="action" placeholder="rollout.order" />
        <Field label="App" name="app" />
        <Choice label="Outcome" name="outcome">
          <option value="">all</option>
          <option value="allowed">allowed</option>
          <option value="refused">refused</option>
        </Choice>
        <Button type="submit">Look</Button>
      </form>
      <Failure error={asked.error} />
      {asked.isPending && <Loading what="the log" />}
      {!asked.isPending && rows.length === 0 && !asked.error && <Empty>Nothing matches.</Empty>}
      {rows.length > 0 && (
        <Table caption="Audit log, newest first" head={["#", "When", "Who", "From", "Action", "What", "Outcome"]}>
          {rows.map((it) => (
            <tr key={it.seq}>
              <td className="text-dim tabular-nums">{it.seq}</td>
              <td className="whitespace-nowrap tabular-nums">{moment(it.at)}</td>
              <td className="whitespace-nowrap">{it.by}</td>
              <td className="font-mono text-xs whitespace-nowrap text-dim">{it.from}</td>
              <td className="whitespace-nowrap">{it.action}</td>
              <td className="min-w-56">
                {it.app && <b className="font-medium">{it.app} </b>}
                {it.detail}
              </td>
              <td>
                <Badge tone={it.outcome === "refused" ? "bad" : "good"}>{it.outcome}</Badge>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {asked.hasNextPage && (
        <Button className="mt-3" onPress={() => void asked.fetchNextPage()} isDisabled={asked.isFetching}>
          Older
        </Button>
      )}
    </Card>
  );
}

function Verify() {
  const [said, setSaid] = useState<{ intact: boolean; text: string }>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  async function verify() {
    setBusy(true);
    setError(undefined);
    try {
      const it = await data(api.GET("/api/v1/audit/verify"));
      setSaid({ intact: it.intact, text: it.detail });
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  }
  const Icon = said?.intact ? ShieldCheck : ShieldAlert;
  return (
    <span className="flex flex-wrap items-center gap-2 text-sm">
      <Failure error={error} />
      {said && (
        <span role="status" className={`flex items-center gap-1 ${said.intact ? "text-good" : "text-bad"}`}>
          <Icon size={16} aria-hidden /> {said.text}
        </span>
      )}
      <a href="/api/v1/audit/export" download="sluice-audit.jsonl">
        Export
      </a>
      <Button onPress={() => void verify()} isDisabled={busy}>
        Verify the chain
      </Button>
    </span>
  );
}
