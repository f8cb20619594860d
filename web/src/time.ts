// Times for people.
import { useSyncExternalStore } from "react";

const UNITS: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
];

/** `95` → `1 min 35 s`; the two greatest units. */
export function duration(seconds: number): string {
  if (seconds > 0 && seconds < 9.95) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.max(0, Math.round(seconds));
  const at = UNITS.findIndex(([size]) => whole >= size);
  if (at < 0) return "0 s";
  const [size, name] = UNITS[at] as [number, string];
  const first = `${Math.floor(whole / size)} ${name}`;
  const next = UNITS[at + 1];
  const rest = next ? Math.floor((whole % size) / next[0]) : 0;
  return next && rest > 0 ? `${first} ${rest} ${next[1]}` : first;
}

/** Seconds between two moments. */
export function between(from: string, to: string | Date): number {
  return (new Date(to).getTime() - new Date(from).getTime()) / 1000;
}

/** `2026-11-27 10:03:12`, in the reader's time. */
export function moment(at: string): string {
  const it = new Date(at);
  const two = (number: number) => String(number).padStart(2, "0");
  const day = `${it.getFullYear()}-${two(it.getMonth() + 1)}-${two(it.getDate())}`;
  return `${day} ${two(it.getHours())}:${two(it.getMinutes())}:${two(it.getSeconds())}`;
}

/** One clock for all who look: a thousand ages are one timer. */
let now = new Date();
const lookers = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function look(looker: () => void): () => void {
  lookers.add(looker);
  timer ??= setInterval(() => {
    now = new Date();
    for (const it of lookers) it();
  }, 1000);
  return () => {
    lookers.delete(looker);
    if (lookers.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** How long ago `at` was in words, kept true; only a change of the words is shown anew. */
export function useAge(at: string): string {
  return useSyncExternalStore(look, () => duration(Math.floor(between(at, now))));
}
