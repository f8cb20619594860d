// Measurements over time: a chart for the eye, a table for everybody.
import { useEffect, useMemo, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Schemas } from "../../api/client";
import { useTheme } from "../../theme";
import { moment } from "../../time";
import { Empty, Table, VerdictBadge } from "../../ui/parts";

type Measurement = Schemas["MeasurementView"];

/** Rows of the table: the newest; the chart has them all. */
const ROWS = 30;

export interface Series {
  times: number[];
  candidate: (number | null)[];
  stable: (number | null)[];
  both: boolean;
  unit: string;
}

/** What can be drawn: the shares of bad requests of both revisions where they were counted, else the values. */
export function series(rows: Measurement[]): Series {
  const times = rows.map((it) => new Date(it.at).getTime() / 1000);
  const arms = rows.map((it) => it.evidence as Arms | null | undefined);
  const both = arms.some((it) => it?.candidate && it.stable);
  if (!both)
    return { times, candidate: rows.map((it) => it.value ?? null), stable: [], both, unit: "" };
  return {
    times,
    candidate: arms.map((it) => rate(it?.candidate)),
    stable: arms.map((it) => rate(it?.stable)),
    both,
    unit: " %",
  };
}

interface Arm {
  requests?: number;
  errors?: number;
}
interface Arms {
  candidate?: Arm;
  stable?: Arm;
}

function rate(arm: Arm | undefined): number | null {
  if (!arm?.requests) return null;
  return (100 * (arm.errors ?? 0)) / arm.requests;
}

export default function GateChart({ gate, rows }: { gate: string; rows: Measurement[] }) {
  const drawn = useMemo(() => series(rows), [rows]);
  if (rows.length === 0) return <Empty>Nothing was measured yet.</Empty>;
  const drawable = drawn.candidate.some((it) => it !== null);
  return (
    <div className="mt-3 space-y-3">
      {drawable && (
        <Chart series={drawn} label={`${gate} over time; the table below has the same numbers`} />
      )}
      <Table
        caption={`Measurements of ${gate}, newest first`}
        head={["When", ...(drawn.both ? ["Candidate", "Stable"] : []), "Reading", "Verdict"]}
      >
        {rows
          .map((it, at) => ({ it, at }))
          .slice(-ROWS)
          .reverse()
          .map(({ it, at: index }) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: two may be taken at one moment
            <tr key={`${it.at}-${index}`}>
              <td className="whitespace-nowrap tabular-nums">{moment(it.at)}</td>
              {drawn.both && <td className="tabular-nums">{shown(drawn.candidate[index])}</td>}
              {drawn.both && <td className="tabular-nums">{shown(drawn.stable[index])}</td>}
              <td>{it.reading}</td>
              <td>
                <VerdictBadge verdict={it.verdict} />
              </td>
            </tr>
          ))}
      </Table>
    </div>
  );
}

function shown(share: number | null | undefined): string {
  return share == null ? "–" : `${Number(share.toPrecision(3))} %`;
}

function Chart({ series, label }: { series: Series; label: string }) {
  const place = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  // biome-ignore lint/correctness/useExhaustiveDependencies: colours are read from the theme
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--dim"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 },
    };
    const line = (label: string, name: string, dash?: number[]): uPlot.Series => ({
      label,
      stroke: colour(name),
      width: 2,
      dash,
      spanGaps: false,
      value: (_, it) => (it == null ? "–" : `${Number(it.toPrecision(3))}${series.unit}`),
    });
    const data: uPlot.AlignedData = series.both
      ? [series.times, series.candidate, series.stable]
      : [series.times, series.candidate];
    const plot = new uPlot(
      {
        width: element.clientWidth,
        height: 190,
        axes: [
          axis,
          { ...axis, size: 56, values: (_, all) => all.map((it) => `${it}${series.unit}`) },
        ],
        series: [
          {},
          line(series.both ? "candidate" : "value", "--candidate"),
          ...(series.both ? [line("stable", "--stable", [6, 4])] : []),
        ],
        cursor: { drag: { x: false, y: false } },
      },
      data,
      element,
    );
    const resized = new ResizeObserver(() =>
      plot.setSize({ width: element.clientWidth, height: 190 }),
    );
    resized.observe(element);
    return () => {
      resized.disconnect();
      plot.destroy();
    };
  }, [series, theme]);
  return <div ref={place} role="img" aria-label={label} className="w-full overflow-hidden" />;
}
