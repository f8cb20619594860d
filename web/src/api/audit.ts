// Which lines of the audit log an address asks for.

export interface AuditSearch {
  project?: string;
  app?: string;
  who?: string;
  action?: string;
  outcome?: "done" | "refused";
  /** With every step that rollouts have done. */
  steps?: boolean;
}

/** What the address says of the filter; whatever else it says is left out. */
export function auditSearch(search: Record<string, unknown>): AuditSearch {
  const text = (key: string) => {
    const value = search[key];
    return typeof value === "string" && value !== "" ? { [key]: value } : {};
  };
  const outcome = search.outcome;
  return {
    ...text("project"),
    ...text("app"),
    ...text("who"),
    ...text("action"),
    ...(outcome === "done" || outcome === "refused" ? { outcome } : {}),
    ...(search.steps === true || search.steps === "on" ? { steps: true } : {}),
  };
}
