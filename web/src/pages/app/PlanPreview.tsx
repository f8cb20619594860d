// Strategy and gates as compiled: what the next rollout would do, and whether its gates have data.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, data, type Schemas } from "../../api/client";
import { Badge, Button, Card, Failure, Loading } from "../../ui/parts";

export function PlanPreview({
  project,
  app,
  version,
}: {
  project: string;
  app: string;
  version: number;
}) {
  const [open, setOpen] = useState(false);
  const asked = useQuery({
    queryKey: ["app", project, app, "plan", version],
    queryFn: () =>
      data(
        api.POST("/api/v1/apps/{project}/{app}/plan", {
          params: { path: { project, app } },
          body: {},
        }),
      ),
    enabled: open,
    staleTime: 30_000,
  });
  return (
    <Card
      title="Strategy and gates, as compiled"
      aside={
        <Button aria-expanded={open} onPress={() => setOpen(!open)}>
          {open ? "Hide the plan" : "Show the plan"}
        </Button>
      }
    >
      {!open && (
        <p className="text-sm text-dim">
          What the next rollout would do, and whether each gate has data now. Nothing is changed by
          looking.
        </p>
      )}
      {open && asked.isPending && <Loading what="the plan" />}
      {open && <Failure error={asked.error} />}
      {open && asked.data && <Plan plan={asked.data} />}
    </Card>
  );
}

export function Plan({ plan }: { plan: Schemas["PlanView"] }) {
  return (
    <div className="space-y-4 text-sm">
      {plan.warnings.length > 0 && (
        <ul className="list-disc rounded-md bg-wait-soft py-2 pr-3 pl-7 text-wait">
          {plan.warnings.map((it) => (
            <li key={it}>{it}</li>
          ))}
        </ul>
      )}
      <p>
        {plan.strategy}: {plan.stable ?? "nothing"} → {plan.candidate}, {plan.replicas} instances
      </p>
      <ol className="list-decimal space-y-1 pl-6">
        {plan.steps.map((it, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a step is its place in the plan
          <li key={index}>
            <b className="font-medium">{it.title}</b>{" "}
            <span className="text-dim">
              waits for {it.waitsFor}
              {it.gives != null && `; the router gives ${it.gives} %`}
            </span>
          </li>
        ))}
      </ol>
      <p className="text-dim">The way back: {plan.abort.join(", ")}.</p>
      {plan.gates.length > 0 && (
        <ul className="space-y-2">
          {plan.gates.map((it) => (
            <li key={it.gate}>
              <b className="font-medium">{it.gate}</b>{" "}
              <Badge tone={it.hasData ? "good" : "wait"}>
                {it.hasData ? "has data" : "no data"}
              </Badge>{" "}
              <span className="text-dim">{it.reading}</span>
              <code className="block text-xs break-all text-dim">{it.question}</code>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
