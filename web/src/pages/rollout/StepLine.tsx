// The plan as a line of steps, with the live position.
import { Check, Circle, CircleDot, Minus } from "lucide-react";
import type { Rollout } from "../../api/queries";
import { Age } from "../../ui/parts";

const TRACKS: Record<string, string> = {
  main: "",
  promote: "straight to full traffic",
  abort: "the way back",
};

const STATES = {
  done: [Check, "text-good", "done"],
  current: [CircleDot, "text-accent", "now"],
  ahead: [Circle, "text-dim", "to come"],
  left: [Minus, "text-dim", "left out"],
} as const;

export function StepLine({ rollout }: { rollout: Rollout }) {
  const track = TRACKS[rollout.track];
  return (
    <>
      {track && <p className="mb-2 text-sm text-dim">This is {track}.</p>}
      <ol className="flex flex-wrap gap-x-1 gap-y-2 text-sm">
        {rollout.steps.map((step, index) => {
          const [Icon, colour, word] = STATES[step.state];
          const current = step.state === "current" && !rollout.endedAt;
          return (
            <li
              // biome-ignore lint/suspicious/noArrayIndexKey: a step is its place in the plan
              key={index}
              aria-current={current ? "step" : undefined}
              className={`flex items-center gap-1.5 rounded-full border px-2.5 py-1 ${
                current ? "border-accent bg-soft font-semibold" : "border-line"
              } ${step.state === "left" ? "text-dim line-through" : ""}`}
            >
              <Icon size={14} aria-hidden className={colour} />
              <span className="sr-only">{word}: </span>
              {step.title}
              {current && (
                <span className="text-xs font-normal text-dim">
                  for <Age at={rollout.since} />
                </span>
              )}
            </li>
          );
        })}
      </ol>
    </>
  );
}
