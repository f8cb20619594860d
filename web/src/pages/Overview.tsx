// All apps at a glance: what needs me first, then what moves, then the rest.
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { memo, useMemo, useState } from "react";
import { type App, apps, recent, type Summary } from "../api/queries";
import {
  Age,
  AppLink,
  Button,
  Empty,
  Failure,
  INPUT,
  Loading,
  PHASES,
  PhaseBadge,
  TrafficBar,
} from "../ui/parts";

export interface Row {
  app: App;
  /** The rollout to show: the one under way, or one that was taken back and is the newest. */
  rollout: Summary | null;
  group: Group;
  text: string;
}

export type Group = "needsYou" | "moving" | "rest";

const GROUPS: [Group, string, string][] = [
  ["needsYou", "Needs somebody", "waits for a person, is held, or was taken back"],
  ["moving", "Under way", "goes on by itself"],
  ["rest", "At rest", "one revision has all the traffic"],
];

const SHOWS: [string, string][] = [
  ["all", "All apps"],
  ["needsYou", "Needs somebody"],
  ["moving", "Under way"],
  ["rest", "At rest"],
];

/** The phases that a row may show, as they are called on its badge. */
const SHOWN_PHASES = ["pending", "progressing", "paused", "promoting", "aborting", "rolledBack"];

/** Which apps are asked for; it stands in the address, so that it can be sent to somebody. */
export interface Filter {
  /** Part of the name or project. */
  q?: string;
  project?: string;
  /** A group, or a phase. */
  show?: string;
}

/** The rows that a filter asks for. */
export function filtered(all: Row[], { q = "", project = "all", show = "all" }: Filter): Row[] {
  const part = q.trim().toLowerCase();
  return all.filter(
    (it) =>
      it.text.includes(part) &&
      (project === "all" || it.app.project === project) &&
      (show === "all" || it.group === show || it.rollout?.phase === show),
  );
}

/** The rows of the overview, ready to be searched. */
export function rows(all: App[], newest: Summary[]): Row[] {
  const last = new Map<string, Summary>();
  for (const it of newest) {
    const key = `${it.project}/${it.app}`;
    if (!last.has(key)) last.set(key, it);
  }
  return all.map((app) => {
    const key = `${app.project}/${app.app}`;
    const before = last.get(key);
    const takenBack = before?.phase === "rolledBack" ? before : null;
    const rollout = app.rollout ?? takenBack;
    return { app, rollout, group: grouped(app, rollout), text: key.toLowerCase() };
  });
}

function grouped(app: App, rollout: Summary | null): Group {
  if (!rollout) return "rest";
  if (!app.rollout) return "needsYou";
  return rollout.needsPerson ? "needsYou" : "moving";
}

export function Overview() {
  const list = useQuery(apps);
  const newest = useQuery(recent);
  const search = useSearch({ strict: false }) as Filter;
  const navigate = useNavigate();
  const { q, project, show } = search;
  const all = useMemo(() => rows(list.data ?? [], newest.data ?? []), [list.data, newest.data]);
  const found = useMemo(() => filtered(all, { q, project, show }), [all, q, project, show]);
  const projects = useMemo(() => [...new Set(all.map((it) => it.app.project))].sort(), [all]);
  if (list.isPending) return <Loading what="apps" />;
  const change = (next: Filter) =>
    void navigate({ to: "/", search: { ...search, ...next }, replace: true });
  return (
    <div className="space-y-4">
      <div className="flex flex-wrap items-center gap-3">
        <h1 className="mr-auto">Apps</h1>
        <input
          type="search"
          aria-label="Search by name or project"
          placeholder="Search by name or project"
          className={`${INPUT} w-64 max-w-full`}
          defaultValue={search.q ?? ""}
          onChange={(event) => change({ q: event.target.value })}
        />
        {(projects.length > 1 || project) && (
          <select
            aria-label="In project"
            className={INPUT}
            value={project ?? "all"}
            onChange={(event) => change({ project: event.target.value })}
          >
            <option value="all">All projects</option>
            {projects.map((it) => (
              <option key={it}>{it}</option>
            ))}
          </select>
        )}
        <select
          aria-label="Show"
          className={INPUT}
          value={show ?? "all"}
          onChange={(event) => change({ show: event.target.value })}
        >
          {SHOWS.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
          <optgroup label="By phase">
            {SHOWN_PHASES.map((it) => (
              <option key={it} value={it}>
                {PHASES[it]?.[0]}
              </option>
            ))}
          </optgroup>
        </select>
      </div>
      <Failure error={list.error} />
      <p role="status" className="sr-only">
        {found.length} of {all.length} apps
      </p>
      {all.length === 0 && !list.error && (
        <Empty>
          No apps yet. Describe one in a file and run <code>sluice apply -f app.yaml</code>.
        </Empty>
      )}
      {all.length > 0 && found.length === 0 && <Empty>No app matches.</Empty>}
      {GROUPS.map(([group, title, hint]) => (
        <Section
          key={group}
          title={title}
          hint={hint}
          rows={found.filter((it) => it.group === group)}
        />
      ))}
    </div>
  );
}

/** Rows of a section at first: more than anybody reads, few enough to be drawn while somebody types. */
const ROWS = 100;

function Section({ title, hint, rows }: { title: string; hint: string; rows: Row[] }) {
  const [whole, setWhole] = useState(false);
  if (rows.length === 0) return null;
  const shown = whole ? rows : rows.slice(0, ROWS);
  return (
    <section>
      <h2 className="mb-1.5 flex items-baseline gap-2">
        {title} <span className="text-sm font-normal text-dim tabular-nums">{rows.length}</span>
        <span className="hidden text-xs font-normal text-dim sm:inline">{hint}</span>
      </h2>
      <ul className="divide-y divide-line/70 rounded-lg border border-line bg-card">
        {shown.map((it) => (
          <Line key={`${it.app.project}/${it.app.app}`} row={it} />
        ))}
      </ul>
      {shown.length < rows.length && (
        <Button className="mt-2" onPress={() => setWhole(true)}>
          Show all {rows.length}
        </Button>
      )}
    </section>
  );
}

/** Of how many rows the browser lays out only those in sight. */
const SKIP = { contentVisibility: "auto", containIntrinsicSize: "auto 58px" } as const;

const Line = memo(function Line({ row: { app, rollout, group } }: { row: Row }) {
  return (
    <li
      style={SKIP}
      className="grid grid-cols-[1fr_auto] items-center gap-x-4 gap-y-1 px-4 py-2.5 sm:grid-cols-[minmax(9rem,14rem)_9rem_1fr_4.5rem]"
    >
      <span className="truncate">
        <AppLink project={app.project} app={app.app} />
      </span>
      <span className="justify-self-end sm:justify-self-start">
        <PhaseBadge phase={rollout?.phase ?? "rest"} needs={group === "needsYou"} />
      </span>
      <span className="col-span-2 min-w-0 text-sm text-dim sm:col-span-1">
        {rollout ? <Story rollout={rollout} /> : <Resting app={app} />}
      </span>
      <span className="hidden justify-self-end text-xs text-dim sm:inline">
        <Age at={rollout?.createdAt ?? app.updatedAt} />
      </span>
    </li>
  );
});

function Resting({ app }: { app: App }) {
  return app.stable ? (
    <>
      <b className="font-medium text-ink">{app.stable}</b> has all the traffic
    </>
  ) : (
    <>nothing is installed yet</>
  );
}

function Story({ rollout }: { rollout: Summary }) {
  const share = rollout.share ?? 0;
  const from = rollout.stable ? `${rollout.stable} → ${rollout.candidate}` : rollout.candidate;
  return (
    <span className="block">
      <Link to="/rollouts/$id" params={{ id: rollout.id }} className="font-medium">
        {from}
      </Link>{" "}
      {rollout.endedAt
        ? rollout.reason
        : `${rollout.step} · ${rollout.waiting ?? rollout.reason ?? ""}`}
      {!rollout.endedAt && rollout.phase !== "pending" && (
        <span className="mt-1 block max-w-72">
          <TrafficBar
            candidate={share}
            label={`${rollout.candidate} is asked to have ${share} %`}
          />
        </span>
      )}
    </span>
  );
}
