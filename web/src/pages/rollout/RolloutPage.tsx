// One rollout: where it stands, why, what the gates know, and what can be done.
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { explanation, history, type Rollout } from "../../api/queries";
import { between, duration } from "../../time";
import { Age, AppLink, Card, Failure, Loading, PhaseBadge } from "../../ui/parts";
import { ActionBar, type Explained } from "./ActionBar";
import { Gates } from "./Gates";
import { Sides } from "./Sides";
import { StepLine } from "./StepLine";
import { Timeline } from "./Timeline";

export function RolloutPage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const explained = useQuery(explanation(id));
  const past = useQuery(history(id));
  if (explained.isPending) return <Loading what="the rollout" />;
  if (!explained.data)
    return (
      <div className="space-y-3">
        <Failure error={explained.error} />
        <Link to="/">All apps</Link>
      </div>
    );
  const { rollout, facts } = explained.data;
  return (
    <div className="space-y-4">
      <Head explained={explained.data} />
      <Failure error={explained.error} />
      <Obstacles rollout={rollout} />
      <Card title="Plan">
        <StepLine rollout={rollout} />
      </Card>
      <Sides rollout={rollout} />
      <Gates rollout={rollout} />
      {facts.length > 0 && (
        <Card title="Why it is where it is">
          <ul className="list-disc space-y-1 pl-5 text-sm">
            {facts.map((it) => (
              <li key={it}>{it}</li>
            ))}
          </ul>
        </Card>
      )}
      <Card title="Timeline">
        <Failure error={past.error} />
        <Timeline rows={past.data ?? []} />
      </Card>
    </div>
  );
}

function Head({ explained }: { explained: Explained }) {
  const { rollout } = explained;
  const from = rollout.stable ? `${rollout.stable} → ${rollout.candidate}` : rollout.candidate;
  return (
    <Card>
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <h1 className="flex flex-wrap items-baseline gap-x-2">
          <AppLink project={rollout.project} app={rollout.app} />
          <span>{from}</span>
        </h1>
        <PhaseBadge phase={rollout.phase} needs={rollout.needsPerson} />
        <span className="text-sm text-dim">
          {rollout.strategy} by {rollout.createdBy},{" "}
          {rollout.endedAt ? (
            `took ${duration(between(rollout.createdAt, rollout.endedAt))}`
          ) : (
            <>
              begun <Age at={rollout.createdAt} /> ago
            </>
          )}
        </span>
      </div>
      <p className="mt-2 text-[17px]" data-testid="headline">
        {explained.headline}
      </p>
      <p className="mt-1 text-sm break-all text-dim">
        <span className="font-mono text-xs">{rollout.artifact}</span>
        {rollout.comment && <span> · “{rollout.comment}”</span>}
        {rollout.attempt > 1 && <span> · attempt {rollout.attempt}</span>}
      </p>
      <ActionBar explained={explained} />
    </Card>
  );
}

function Obstacles({ rollout }: { rollout: Rollout }) {
  if (!rollout.obstacles?.length) return null;
  return (
    <div role="alert" className="rounded-lg bg-wait-soft px-4 py-3 text-sm text-wait">
      <b>Something keeps the world from what was asked; it is tried again and again.</b>
      <ul className="mt-1 list-disc pl-5">
        {rollout.obstacles.map((it) => (
          <li key={it.part}>
            {it.part}: {it.detail}
          </li>
        ))}
      </ul>
    </div>
  );
}
