// What can be done with a rollout, by whom, and what would happen.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import {
  Check,
  FastForward,
  Hammer,
  Pause,
  Play,
  RotateCcw,
  SkipForward,
  StepForward,
  Undo2,
  X,
} from "lucide-react";
import { type ReactNode, useState } from "react";
import { api, data, type Schemas } from "../../api/client";
import { type Rollout, revisions } from "../../api/queries";
import { Confirm } from "../../ui/Confirm";

export type Explained = Schemas["Explanation"];
type Action = Schemas["ActionView"];
type Order = Schemas["OrderWord"];

const LOOKS: Record<string, [ReactNode, "main" | "plain" | "danger"]> = {
  approve: [<Check key="i" size={16} aria-hidden />, "main"],
  promote: [<StepForward key="i" size={16} aria-hidden />, "main"],
  promoteFull: [<FastForward key="i" size={16} aria-hidden />, "plain"],
  resume: [<Play key="i" size={16} aria-hidden />, "main"],
  retry: [<RotateCcw key="i" size={16} aria-hidden />, "plain"],
  skip: [<SkipForward key="i" size={16} aria-hidden />, "plain"],
  pause: [<Pause key="i" size={16} aria-hidden />, "plain"],
  reject: [<X key="i" size={16} aria-hidden />, "danger"],
  abort: [<Undo2 key="i" size={16} aria-hidden />, "danger"],
  breakGlass: [<Hammer key="i" size={16} aria-hidden />, "danger"],
};

export function ActionBar({ explained }: { explained: Explained }) {
  const { rollout } = explained;
  const actions = explained.actions ?? [];
  // A dialog that somebody reads does not vanish because its order is not legal for a moment, or any
  // more: the server says so when it is given.
  const [open, setOpen] = useState<Action>();
  const place = (it: Action) => Object.keys(LOOKS).indexOf(it.order);
  const allowed = actions.filter((it) => it.allowed);
  if (open && !allowed.some((it) => it.order === open.order)) allowed.push(open);
  allowed.sort((a, b) => place(a) - place(b));
  // Why one may not decide is worth saying only where somebody is asked to.
  const asked = rollout.waitingOn?.kind === "approval";
  const refused = asked ? actions.find((it) => it.order === "approve" && !it.allowed) : undefined;
  if (allowed.length === 0 && !refused && !rollout.endedAt) return null;
  return (
    <fieldset className="mt-4 flex flex-wrap items-center gap-2">
      <legend className="sr-only">Actions</legend>
      {allowed.map((it) => (
        <Act
          key={it.order}
          action={it}
          rollout={rollout}
          onOpenChange={(isOpen) => setOpen(isOpen ? it : undefined)}
        />
      ))}
      {rollout.phase === "succeeded" && <Undo rollout={rollout} />}
      {refused?.whyNot && <p className="text-sm text-dim">You cannot approve: {refused.whyNot}</p>}
    </fieldset>
  );
}

function Act({
  action,
  rollout,
  onOpenChange,
}: {
  action: Action;
  rollout: Rollout;
  onOpenChange: (open: boolean) => void;
}) {
  const client = useQueryClient();
  // What is agreed to is what was read when the dialog opened, whatever has happened since.
  const [read, setRead] = useState({ action, rollout });
  const [icon, look] = LOOKS[action.order] ?? [null, "plain"];
  async function act(comment: string) {
    await send(read.action.order, read.rollout, comment || undefined);
    await client.invalidateQueries({ queryKey: ["rollout", rollout.id] });
    void client.invalidateQueries({ queryKey: ["apps"] });
  }
  return (
    <Confirm
      trigger={action.title}
      icon={icon}
      look={look}
      title={`${read.action.title}: ${rollout.app} ${rollout.candidate}`}
      effect={read.action.effect}
      does={read.action.title}
      comment={action.order === "breakGlass" ? "required" : "optional"}
      onOpenChange={(open) => {
        setRead({ action, rollout });
        onOpenChange(open);
      }}
      act={act}
    />
  );
}

function send(order: string, rollout: Rollout, comment: string | undefined) {
  const path = { id: rollout.id };
  if (order === "approve" || order === "reject")
    return data(
      api.POST("/api/v1/rollouts/{id}/approvals", {
        params: { path },
        // What is decided is the step that was looked at, not whatever has come since.
        body: { decision: order, step: rollout.stepIndex, attempt: rollout.attempt, comment },
      }),
    );
  return data(
    api.POST("/api/v1/rollouts/{id}/commands", {
      params: { path },
      body: { order: order as Order, comment },
    }),
  );
}

/** Back to any revision that is kept. */
export function Undo({
  rollout,
}: {
  rollout: { project: string; app: string; candidate: string };
}) {
  const kept = useQuery(revisions(rollout.project, rollout.app));
  const client = useQueryClient();
  const [wanted, setWanted] = useState<string>();
  const others = (kept.data ?? []).filter((it) => it.revision !== rollout.candidate);
  if (others.length === 0) return null;
  const chosen = wanted ?? others[0]?.revision;
  return (
    <Confirm
      trigger="Undo …"
      icon={<Undo2 size={16} aria-hidden />}
      look="danger"
      title={`Undo: ${rollout.app} ${rollout.candidate}`}
      effect={`All traffic goes straight to the revision chosen, without steps and gates; ${rollout.candidate} is stopped.`}
      does="Undo"
      act={async (comment) => {
        const made = await data(
          api.POST("/api/v1/apps/{project}/{app}/rollouts", {
            params: {
              path: { project: rollout.project, app: rollout.app },
              header: { "idempotency-key": crypto.randomUUID() },
            },
            body: { undoTo: chosen, comment: comment || undefined },
          }),
        );
        await client.invalidateQueries();
        return made;
      }}
    >
      <label className="block text-sm">
        <span className="mb-1 block font-medium">Revision</span>
        <select
          className="block min-h-9 w-full rounded-md border border-line bg-card px-2 text-sm"
          value={chosen}
          onChange={(event) => setWanted(event.target.value)}
        >
          {others.map((it) => (
            <option key={it.revision} value={it.revision}>
              {it.revision} · {it.artifact}
            </option>
          ))}
        </select>
      </label>
    </Confirm>
  );
}
