// One app: what is delivered, how, and how it went.
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import { app as appQuery, outcomes, revisions, rolloutsOf } from "../../api/queries";
import { between, duration, moment } from "../../time";
import { Age, Card, Empty, Failure, Loading, PhaseBadge, Table } from "../../ui/parts";
import { Deploy } from "./Deploy";
import { PlanPreview } from "./PlanPreview";

const AppFile = lazy(() => import("./AppFile"));

export function AppPage() {
  const { project, app } = useParams({ strict: false }) as { project: string; app: string };
  const asked = useQuery(appQuery(project, app));
  if (asked.isPending) return <Loading what="the app" />;
  if (!asked.data)
    return (
      <div className="space-y-3">
        <Failure error={asked.error} />
        <Link to="/">All apps</Link>
      </div>
    );
  const it = asked.data;
  return (
    <div className="space-y-4">
      <Card>
        <div className="flex flex-wrap items-center gap-3">
          <h1>
            {project !== "default" && <span className="text-dim">{project}/</span>}
            {app}
          </h1>
          <PhaseBadge
            phase={it.rollout?.phase ?? "rest"}
            needs={it.rollout?.needsPerson ?? false}
          />
          <span className="text-sm text-dim">
            applied <Age at={it.updatedAt} /> ago, version {it.version}
          </span>
          <span className="ml-auto flex gap-2">
            <Deploy project={project} app={app} stable={it.stable?.revision ?? null} />
          </span>
        </div>
        <p className="mt-2">
          {it.stable ? (
            <>
              <b>{it.stable.revision}</b> is stable{" "}
              <span className="font-mono text-xs break-all text-dim">{it.stable.artifact}</span>
            </>
          ) : (
            "Nothing is installed yet."
          )}
        </p>
        {it.rollout && (
          <p className="mt-1 text-sm">
            <Link to="/rollouts/$id" params={{ id: it.rollout.id }}>
              {it.rollout.stable ? `${it.rollout.stable} → ` : ""}
              {it.rollout.candidate}
            </Link>{" "}
            {it.rollout.step} · {it.rollout.waiting}
          </p>
        )}
      </Card>
      <Counters project={project} app={app} />
      <Rollouts project={project} app={app} />
      <PlanPreview project={project} app={app} version={it.version} />
      <Card title="App file">
        <Suspense fallback={<Loading what="the editor" />}>
          <AppFile
            key={it.version}
            project={project}
            app={app}
            document={it.document}
            version={it.version}
          />
        </Suspense>
      </Card>
      <Revisions project={project} app={app} stable={it.stable?.revision} />
    </div>
  );
}

function Counters({ project, app }: { project: string; app: string }) {
  const { data } = useQuery(outcomes(project, app));
  if (!data) return null;
  const share = (it: number | null | undefined) =>
    it == null ? "–" : `${Number((it * 100).toFixed(1))} %`;
  const time = (it: number | null | undefined) => (it == null ? "–" : duration(it));
  const numbers: [string, string, string][] = [
    [
      "Deployments a day",
      String(Number(data.deploymentsPerDay.toFixed(2))),
      `${data.rollouts} in ${data.days} days`,
    ],
    ["Change failure rate", share(data.changeFailureRate), `${data.rolledBack} rolled back`],
    ["Time to restore", time(data.restoreSeconds), "median"],
    ["Duration", time(data.medianSeconds), "median of those that succeeded"],
  ];
  return (
    <dl className="grid grid-cols-2 gap-3 lg:grid-cols-4">
      {numbers.map(([name, value, hint]) => (
        <div key={name} className="rounded-lg border border-line bg-card px-4 py-3">
          <dt className="text-xs text-dim">{name}</dt>
          <dd className="text-xl font-semibold tabular-nums">{value}</dd>
          <dd className="text-xs text-dim">{hint}</dd>
        </div>
      ))}
    </dl>
  );
}

function Rollouts({ project, app }: { project: string; app: string }) {
  const asked = useQuery(rolloutsOf(project, app));
  return (
    <Card title="Rollouts">
      <Failure error={asked.error} />
      {asked.data?.length === 0 && <Empty>None yet.</Empty>}
      {asked.data && asked.data.length > 0 && (
        <Table
          caption="Rollouts, newest first"
          head={["Rollout", "Outcome", "Asked for", "Took", "Why"]}
        >
          {asked.data.map((it) => (
            <tr key={it.id}>
              <td className="whitespace-nowrap">
                <Link to="/rollouts/$id" params={{ id: it.id }}>
                  {it.stable ? `${it.stable} → ` : ""}
                  {it.candidate}
                </Link>{" "}
                <span className="text-dim">{it.strategy}</span>
              </td>
              <td>
                <PhaseBadge phase={it.phase} needs={it.needsPerson} />
              </td>
              <td className="whitespace-nowrap tabular-nums">{moment(it.createdAt)}</td>
              <td className="whitespace-nowrap tabular-nums">
                {it.endedAt ? (
                  duration(between(it.createdAt, it.endedAt))
                ) : (
                  <Age at={it.createdAt} />
                )}
              </td>
              <td className="min-w-48 text-dim">{it.reason ?? it.waiting ?? ""}</td>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}

function Revisions({ project, app, stable }: { project: string; app: string; stable?: string }) {
  const asked = useQuery(revisions(project, app));
  return (
    <Card title="Revisions">
      <Failure error={asked.error} />
      {asked.data?.length === 0 && <Empty>None yet.</Empty>}
      {asked.data && asked.data.length > 0 && (
        <Table caption="Revisions, newest first" head={["Revision", "Artifact", "Made", "By"]}>
          {asked.data.map((it) => (
            <tr key={it.revision}>
              <td className="font-medium whitespace-nowrap">
                {it.revision}
                {it.revision === stable && (
                  <span className="text-xs font-normal text-dim"> stable</span>
                )}
              </td>
              <td className="font-mono text-xs break-all">
                {it.artifact}
                {it.digest && <span className="block text-dim">{it.digest}</span>}
              </td>
              <td className="whitespace-nowrap tabular-nums">{moment(it.createdAt)}</td>
              <td>{it.createdBy}</td>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}
