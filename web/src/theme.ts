// Light or dark: as the system says, until somebody chooses.
import { useSyncExternalStore } from "react";

const KEY = "sluice-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

function chosen(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function now(): "light" | "dark" {
  const choice = chosen();
  if (choice === "light" || choice === "dark") return choice;
  return system.matches ? "dark" : "light";
}

function show() {
  document.documentElement.dataset.theme = now();
  for (const listener of listeners) listener();
}

system.addEventListener("change", show);
show();

export function toggleTheme() {
  try {
    localStorage.setItem(KEY, now() === "dark" ? "light" : "dark");
  } catch {
    // Nothing may be kept here: the system's choice stays.
  }
  show();
}

export function useTheme(): "light" | "dark" {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, now);
}
