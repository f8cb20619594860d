// The gates: verdict, evidence in words, and what was measured over time.
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { measurements, type Rollout } from "../../api/queries";
import { Age, Button, Card, Failure, Loading, VerdictBadge } from "../../ui/parts";

const GateChart = lazy(() => import("./GateChart"));

export function Gates({ rollout }: { rollout: Rollout }) {
  if (rollout.gates.length === 0) return null;
  return (
    <Card title="Gates">
      <ul className="space-y-3">
        {rollout.gates.map((it) => (
          <Gate key={it.gate} gate={it} rollout={rollout} />
        ))}
      </ul>
    </Card>
  );
}

function Gate({ gate, rollout }: { gate: Rollout["gates"][number]; rollout: Rollout }) {
  const [open, setOpen] = useState(false);
  return (
    <li className="rounded-md border border-line p-3" data-gate={gate.gate}>
      <div className="flex flex-wrap items-center gap-2">
        <h3>{gate.gate}</h3>
        <VerdictBadge verdict={gate.verdict} />
        <span className="text-xs text-dim">
          {gate.measured} measured in this step
          {gate.at && !rollout.endedAt && (
            <>
              , last <Age at={gate.at} /> ago
            </>
          )}
        </span>
        <Button className="ml-auto" aria-expanded={open} onPress={() => setOpen(!open)}>
          {open ? "Hide the measurements" : "Measurements"}
        </Button>
      </div>
      {gate.last && <p className="mt-1 text-sm">{gate.last}</p>}
      <p className="mt-0.5 text-xs text-dim">good is: {gate.bound}</p>
      {open && <Measured gate={gate.gate} rollout={rollout} />}
    </li>
  );
}

function Measured({ gate, rollout }: { gate: string; rollout: Rollout }) {
  const asked = useQuery(measurements(rollout.id, gate, !rollout.endedAt));
  if (asked.isPending) return <Loading what="measurements" />;
  if (asked.error) return <Failure error={asked.error} />;
  return (
    <Suspense fallback={<Loading what="the chart" />}>
      <GateChart gate={gate} rows={asked.data} />
    </Suspense>
  );
}
