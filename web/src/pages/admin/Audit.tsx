// The audit log: who did what, from where, and who was refused; and whether it is as it was written.
import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { ShieldAlert, ShieldCheck } from "lucide-react";
import type { FormEvent } from "react";
import { type AuditSearch, auditSearch } from "../../api/audit";
import { api, data, type Schemas } from "../../api/client";
import { moment } from "../../time";
import { Badge, Button, Card, Choice, Empty, Failure, Field, Loading, Table } from "../../ui/parts";

type Line = Schemas["AuditView"];

export function Audit() {
  const filter = auditSearch(useSearch({ strict: false }));
  const lines = useInfiniteQuery({
    queryKey: ["audit", filter],
    queryFn: ({ pageParam }) =>
      data(
        api.GET("/api/v1/audit", {
          params: {
            query: { ...filter, steps: filter.steps ?? false, limit: 50, cursor: pageParam },
          },
        }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.nextCursor ?? undefined,
    refetchInterval: 15_000,
  });
  const all = lines.data?.pages.flatMap((it) => it.items) ?? [];
  return (
    <div className="space-y-4">
      <Verification />
      <Card title="Audit log">
        <Filter filter={filter} />
        <Failure error={lines.error} />
        {lines.isPending && <Loading what="the audit log" />}
        {lines.data && all.length === 0 && <Empty>Nothing that fits.</Empty>}
        {all.length > 0 && (
          <Table
            caption="Audit log, newest first"
            head={["When", "Who", "From", "App", "What", "Outcome"]}
          >
            {all.map((it) => (
              <Row key={it.id} line={it} />
            ))}
          </Table>
        )}
        {lines.hasNextPage && (
          <div className="mt-3">
            <Button
              onPress={() => void lines.fetchNextPage()}
              isDisabled={lines.isFetchingNextPage}
            >
              Older
            </Button>
          </div>
        )}
      </Card>
    </div>
  );
}

const TONE = { done: "calm", refused: "bad", failed: "bad", unknown: "wait" } as const;

function Row({ line }: { line: Line }) {
  return (
    <tr>
      <td className="whitespace-nowrap tabular-nums">{moment(line.at)}</td>
      <td className="break-all">{line.who ?? "nobody known"}</td>
      <td className="whitespace-nowrap tabular-nums">{line.from ?? "–"}</td>
      <td>
        <About line={line} />
      </td>
      <td>
        <span className="block">{line.sentence}</span>
        {line.detail && <span className="block text-xs text-dim">{line.detail}</span>}
        <code className="text-xs text-dim">{line.action}</code>
      </td>
      <td>
        <Badge tone={TONE[line.outcome]}>{line.outcome}</Badge>
      </td>
    </tr>
  );
}

function About({ line }: { line: Line }) {
  const name = [line.project, line.app].filter(Boolean).join("/");
  if (line.rollout)
    return (
      <Link to="/rollouts/$id" params={{ id: line.rollout }}>
        {name || "rollout"}
      </Link>
    );
  if (line.project && line.app)
    return (
      <Link to="/apps/$project/$app" params={{ project: line.project, app: line.app }}>
        {name}
      </Link>
    );
  return <>{name || "–"}</>;
}

function Filter({ filter }: { filter: AuditSearch }) {
  const go = useNavigate();
  function show(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const said = Object.fromEntries(
      [...new FormData(event.currentTarget)].map(([key, it]) => [key, String(it).trim()]),
    );
    void go({ to: "/admin/$section", params: { section: "audit" }, search: auditSearch(said) });
  }
  return (
    <form
      key={JSON.stringify(filter)}
      onSubmit={show}
      aria-label="Filter"
      className="mb-4 grid gap-3 sm:grid-cols-3 lg:grid-cols-6"
    >
      <Field label="Project" name="project" defaultValue={filter.project} />
      <Field label="App" name="app" defaultValue={filter.app} />
      <Field label="Who" name="who" defaultValue={filter.who} placeholder="token:ci" />
      <Field label="Action" name="action" defaultValue={filter.action} placeholder="rollout" />
      <Choice label="Outcome" name="outcome" defaultValue={filter.outcome ?? ""}>
        <option value="">all</option>
        <option value="done">done</option>
        <option value="refused">refused</option>
      </Choice>
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2 self-end">
        <label className="flex items-center gap-1.5 text-sm whitespace-nowrap">
          <input type="checkbox" name="steps" defaultChecked={filter.steps} />
          every step
        </label>
        <Button type="submit">Show</Button>
      </div>
    </form>
  );
}

function Verification() {
  const check = useMutation({
    mutationFn: () => data(api.GET("/api/v1/audit/verification")),
  });
  const found = check.data;
  return (
    <Card title="Is it whole?">
      <p className="mb-3 text-sm text-dim">
        Every line is sealed by a chain of hashes some seconds after it is written. The check reads
        the whole log and computes the chain anew.
      </p>
      <Button onPress={() => check.mutate()} isDisabled={check.isPending}>
        {check.isPending ? "Checking…" : "Verify the chain"}
      </Button>
      <Failure error={check.error} />
      {found?.intact && (
        <p role="status" className="mt-3 flex items-start gap-2 text-sm text-good">
          <ShieldCheck size={18} aria-hidden className="shrink-0" />
          <span>
            Intact: {found.sealed} lines sealed, {found.unsealed} too young to be.
            {found.head && <code className="block text-xs break-all">{found.head}</code>}
          </span>
        </p>
      )}
      {found && !found.intact && (
        <p role="alert" className="mt-3 flex items-start gap-2 text-sm font-medium text-bad">
          <ShieldAlert size={18} aria-hidden className="shrink-0" /> {found.problem}
        </p>
      )}
    </Card>
  );
}
