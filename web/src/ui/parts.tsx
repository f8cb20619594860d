// The small parts that pages are made of.
import { Link } from "@tanstack/react-router";
import {
  CircleAlert,
  CircleCheck,
  CircleDashed,
  CirclePause,
  CircleX,
  Hand,
  LoaderCircle,
  type LucideIcon,
  Undo2,
} from "lucide-react";
import type { ComponentProps, ReactNode } from "react";
import { Button as AriaButton, type ButtonProps } from "react-aria-components";
import { words } from "../api/client";
import { moment, useAge } from "../time";

type Tone = "good" | "bad" | "wait" | "busy" | "calm";

const TONES: Record<Tone, string> = {
  good: "bg-good-soft text-good",
  bad: "bg-bad-soft text-bad",
  wait: "bg-wait-soft text-wait",
  busy: "bg-soft text-accent",
  calm: "bg-ground text-dim border border-line",
};

export const PHASES: Record<string, [string, Tone, LucideIcon]> = {
  pending: ["Pending", "calm", CircleDashed],
  progressing: ["Progressing", "busy", LoaderCircle],
  promoting: ["Promoting", "busy", LoaderCircle],
  waits: ["Waits for a person", "wait", Hand],
  paused: ["Paused", "wait", CirclePause],
  aborting: ["Rolling back", "bad", Undo2],
  succeeded: ["Succeeded", "good", CircleCheck],
  rolledBack: ["Rolled back", "bad", Undo2],
  cancelled: ["Cancelled", "calm", CircleX],
  rest: ["At rest", "calm", CircleCheck],
};

const VERDICTS: Record<string, [string, Tone, LucideIcon]> = {
  pass: ["Pass", "good", CircleCheck],
  fail: ["Fail", "bad", CircleX],
  hold: ["Hold", "wait", CirclePause],
  inconclusive: ["Not enough data yet", "busy", CircleDashed],
  noData: ["No data", "wait", CircleAlert],
};

export function Badge({
  tone,
  children,
  icon: Icon,
}: {
  tone: Tone;
  children: ReactNode;
  icon?: LucideIcon;
}) {
  return (
    <span
      className={`inline-flex items-center gap-1 rounded-full px-2 py-0.5 text-xs font-medium whitespace-nowrap ${TONES[tone]}`}
    >
      {Icon && <Icon size={13} aria-hidden />}
      {children}
    </span>
  );
}

/** `needs`: it goes on only when a person acts. */
export function PhaseBadge({ phase, needs = false }: { phase: string; needs?: boolean }) {
  const waits = needs && (phase === "progressing" || phase === "promoting");
  const known = waits ? PHASES.waits : PHASES[phase];
  const [text, tone, icon] = known ?? [phase, "calm", CircleDashed];
  return (
    <Badge tone={tone} icon={icon}>
      {text}
    </Badge>
  );
}

export function VerdictBadge({ verdict }: { verdict: string }) {
  const [text, tone, icon] = VERDICTS[verdict] ?? [verdict, "calm", CircleDashed];
  return (
    <Badge tone={tone} icon={icon}>
      {text}
    </Badge>
  );
}

const BUTTONS = {
  main: "bg-accent text-accent-ink border-transparent",
  plain: "bg-card text-ink border-line",
  danger: "bg-card text-bad border-bad",
};

export function Button({
  look = "plain",
  className = "",
  ...props
}: ButtonProps & {
  look?: keyof typeof BUTTONS;
  className?: string;
}) {
  return (
    <AriaButton
      {...props}
      className={`inline-flex min-h-9 cursor-pointer items-center justify-center gap-1.5 rounded-md border px-3 text-sm font-medium data-[disabled]:cursor-not-allowed data-[disabled]:opacity-55 data-[hovered]:brightness-95 data-[pressed]:brightness-90 ${BUTTONS[look]} ${className}`}
    />
  );
}

export function Card({
  title,
  aside,
  children,
  className = "",
}: {
  title?: ReactNode;
  aside?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  return (
    <section className={`rounded-lg border border-line bg-card p-4 ${className}`}>
      {title && (
        <header className="mb-3 flex flex-wrap items-center justify-between gap-2">
          <h2>{title}</h2>
          {aside}
        </header>
      )}
      {children}
    </section>
  );
}

/** Says what went wrong, as soon as it did. */
export function Failure({ error }: { error: unknown }) {
  if (!error) return null;
  return (
    <div
      role="alert"
      className="rounded-md bg-bad-soft px-3 py-2 text-sm whitespace-pre-line text-bad"
    >
      {words(error)}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <p role="status" className="py-8 text-center text-dim">
      Loading {what} …
    </p>
  );
}

export function Empty({ children }: { children: ReactNode }) {
  return <p className="py-6 text-center text-sm text-dim">{children}</p>;
}

/** How long ago, with the moment for those who want to know. */
export function Age({ at }: { at: string }) {
  const age = useAge(at);
  return (
    <time dateTime={at} title={moment(at)} className="whitespace-nowrap tabular-nums">
      {age}
    </time>
  );
}

/** Who has which share: a bar for the eye, words for everybody. */
export function TrafficBar({ candidate, label }: { candidate: number; label: string }) {
  const share = Math.min(100, Math.max(0, candidate));
  return (
    <div
      role="img"
      aria-label={label}
      title={label}
      className="flex h-2 w-full overflow-hidden rounded-full bg-stable/35"
    >
      <div
        className="bg-candidate transition-[width] duration-300"
        style={{ width: `${share}%` }}
      />
    </div>
  );
}

export function Field({
  label,
  hint,
  ...props
}: ComponentProps<"input"> & {
  label: string;
  hint?: string;
}) {
  return (
    <label className="block text-sm">
      <span className="mb-1 block font-medium">{label}</span>
      <input {...props} className={`${INPUT} w-full ${props.className ?? ""}`} />
      {hint && <span className="mt-1 block text-xs text-dim">{hint}</span>}
    </label>
  );
}

export const INPUT =
  "block min-h-9 rounded-md border border-line bg-card px-2.5 py-1.5 text-sm text-ink placeholder:text-dim";

export function Choice({
  label,
  children,
  ...props
}: ComponentProps<"select"> & {
  label: string;
}) {
  return (
    <label className="block text-sm">
      <span className="mb-1 block font-medium">{label}</span>
      <select {...props} className={`${INPUT} w-full`}>
        {children}
      </select>
    </label>
  );
}

export function AppLink({ project, app }: { project: string; app: string }) {
  return (
    <Link to="/apps/$project/$app" params={{ project, app }} className="font-medium">
      {project === "default" ? app : `${project}/${app}`}
    </Link>
  );
}

/** A table whose columns fit a phone: it scrolls by itself, the page does not. */
export function Table({
  caption,
  head,
  children,
}: {
  caption: string;
  head: string[];
  children: ReactNode;
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section className="overflow-x-auto" aria-label={caption} tabIndex={0}>
      <table className="w-full border-collapse text-sm">
        <caption className="sr-only">{caption}</caption>
        <thead>
          <tr className="border-b border-line text-left text-xs text-dim">
            {head.map((it) => (
              <th key={it} scope="col" className="px-2 py-1.5 font-medium whitespace-nowrap">
                {it || <span className="sr-only">Actions</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody className="[&_td]:px-2 [&_td]:py-1.5 [&_td]:align-top [&_tr]:border-b [&_tr]:border-line/60 [&_tr:last-child]:border-0">
          {children}
        </tbody>
      </table>
    </section>
  );
}
