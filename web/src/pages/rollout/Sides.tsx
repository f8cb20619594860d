// Stable and candidate side by side: shares as asked and as read back, instances, what is wrong.
import { TriangleAlert } from "lucide-react";
import type { Rollout } from "../../api/queries";
import { Age, Card, TrafficBar } from "../../ui/parts";

type Side = Rollout["traffic"][number];

export function Sides({ rollout }: { rollout: Rollout }) {
  if (rollout.traffic.length === 0) return null;
  const candidate = rollout.traffic.find((it) => it.role === "candidate");
  const share = candidate?.observed ?? candidate?.asked ?? 0;
  return (
    <Card
      title="Traffic and instances"
      aside={
        rollout.observedAt && !rollout.endedAt ? (
          <span className="text-xs text-dim">
            seen <Age at={rollout.observedAt} /> ago
          </span>
        ) : undefined
      }
    >
      {rollout.traffic.length > 1 && (
        <div className="mb-3">
          <TrafficBar
            candidate={share}
            label={`The candidate has ${percent(share)} of the traffic`}
          />
        </div>
      )}
      <div className="grid gap-3 sm:grid-cols-2">
        {rollout.traffic.map((it) => (
          <One key={it.role} side={it} />
        ))}
      </div>
    </Card>
  );
}

function One({ side }: { side: Side }) {
  const differs = side.observed != null && Math.abs(side.observed - side.asked) > 0.5;
  return (
    <div className="rounded-md border border-line p-3" data-role={side.role}>
      <div className="flex items-baseline gap-2">
        <span
          aria-hidden
          className={`size-2.5 rounded-full ${side.role === "candidate" ? "bg-candidate" : "bg-stable"}`}
        />
        <h3>
          {side.role} {side.revision}
        </h3>
        <span
          className="ml-auto text-lg font-semibold tabular-nums"
          data-testid={`${side.role}-share`}
        >
          {side.observed == null ? "?" : percent(side.observed)}
        </span>
      </div>
      <p className="text-xs text-dim">
        {side.observed == null
          ? "the router cannot be read"
          : differs
            ? `asked: ${percent(side.asked)}`
            : "as asked"}
        {" · "}
        {side.ready == null ? "instances cannot be read" : `${side.ready} of ${side.desired} ready`}
      </p>
      {side.problems.length > 0 && (
        <ul className="mt-2 space-y-1 text-sm text-bad">
          {side.problems.map((it) => (
            <li key={it} className="flex gap-1.5 break-words">
              <TriangleAlert size={15} aria-hidden className="mt-0.5 shrink-0" />
              <span className="min-w-0">{it}</span>
            </li>
          ))}
        </ul>
      )}
      {side.instances.length > 0 && (
        <ul className="mt-2 grid grid-cols-[repeat(auto-fill,minmax(9.5rem,1fr))] gap-1 text-xs">
          {side.instances.map((it) => (
            <li key={it.name} className="flex items-center gap-1.5" title={it.address ?? ""}>
              <span
                aria-hidden
                className={`size-2 shrink-0 rounded-sm ${DOTS[it.state] ?? "bg-dim"}`}
              />
              <span className="truncate font-mono">{it.name}</span>
              <span className="text-dim">
                {WORDS[it.state] ?? it.state}
                {it.restarts > 0 && `, ${it.restarts}×`}
              </span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

const DOTS: Record<string, string> = {
  ready: "bg-good",
  starting: "bg-wait",
  notReady: "bg-bad",
  draining: "bg-stable",
  exited: "bg-bad",
};

const WORDS: Record<string, string> = { notReady: "not ready" };

export function percent(share: number): string {
  return `${Number(share.toFixed(2))} %`;
}
