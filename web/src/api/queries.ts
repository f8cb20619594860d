// What is asked of the server, under which key it is kept, and what an event makes old.
import { type QueryClient, queryOptions } from "@tanstack/react-query";
import { ApiError, all, api, data, type Schemas } from "./client";
import type { LiveEvent } from "./live";

export type App = Schemas["AppSummary"];
export type Rollout = Schemas["RolloutView"];
export type Summary = Schemas["RolloutSummary"];
export type Whoami = Schemas["Whoami"];

const PAGE = 200;
/** Readiness and readings change without an event: they are looked at again while it is under way. */
const LOOK_EVERY = 2_000;
const LIST_EVERY = 15_000;

/** Who is signed in; `null`: nobody. */
export const session = queryOptions({
  queryKey: ["session"],
  queryFn: async (): Promise<Whoami | null> => {
    try {
      return await data(api.GET("/api/v1/session"));
    } catch (error) {
      if (error instanceof ApiError && error.problem.status === 401) return null;
      throw error;
    }
  },
  staleTime: 60_000,
});

export const apps = queryOptions({
  queryKey: ["apps"],
  queryFn: () =>
    all((cursor) => data(api.GET("/api/v1/apps", { params: { query: { limit: PAGE, cursor } } }))),
  refetchInterval: LIST_EVERY,
});

/** The newest rollouts of all apps: what ended a while ago is not in the list of apps. */
export const recent = queryOptions({
  queryKey: ["recent"],
  queryFn: async () =>
    (await data(api.GET("/api/v1/rollouts", { params: { query: { limit: 50 } } }))).items,
  refetchInterval: LIST_EVERY,
});

export const app = (project: string, name: string) =>
  queryOptions({
    queryKey: ["app", project, name],
    queryFn: () =>
      data(api.GET("/api/v1/apps/{project}/{app}", { params: { path: { project, app: name } } })),
  });

export const revisions = (project: string, name: string) =>
  queryOptions({
    queryKey: ["app", project, name, "revisions"],
    queryFn: async () =>
      (
        await data(
          api.GET("/api/v1/apps/{project}/{app}/revisions", {
            params: { path: { project, app: name } },
          }),
        )
      ).items,
  });

export const rolloutsOf = (project: string, name: string) =>
  queryOptions({
    queryKey: ["app", project, name, "rollouts"],
    queryFn: async () =>
      (
        await data(
          api.GET("/api/v1/rollouts", { params: { query: { project, app: name, limit: 50 } } }),
        )
      ).items,
  });

export const outcomes = (project: string, name: string) =>
  queryOptions({
    queryKey: ["app", project, name, "outcomes"],
    queryFn: () =>
      data(
        api.GET("/api/v1/apps/{project}/{app}/outcomes", {
          params: { path: { project, app: name }, query: { days: 30 } },
        }),
      ),
  });

export const explanation = (id: string) =>
  queryOptions({
    queryKey: ["rollout", id],
    queryFn: () => data(api.GET("/api/v1/rollouts/{id}/explain", { params: { path: { id } } })),
    refetchInterval: (query) => (query.state.data?.rollout.endedAt ? false : LOOK_EVERY),
  });

export const history = (id: string) =>
  queryOptions({
    queryKey: ["rollout", id, "history"],
    queryFn: () =>
      all((cursor) =>
        data(
          api.GET("/api/v1/rollouts/{id}/history", {
            params: { path: { id }, query: { limit: PAGE, cursor } },
          }),
        ),
      ),
  });

export const measurements = (id: string, gate: string, live: boolean) =>
  queryOptions({
    queryKey: ["rollout", id, "measurements", gate],
    queryFn: () =>
      all((cursor) =>
        data(
          api.GET("/api/v1/rollouts/{id}/measurements", {
            params: { path: { id }, query: { gate, limit: PAGE, cursor } },
          }),
        ),
      ),
    refetchInterval: live ? LOOK_EVERY * 2 : false,
  });

export const tokens = queryOptions({
  queryKey: ["tokens"],
  queryFn: async () => (await data(api.GET("/api/v1/tokens"))).items,
});

/** Makes old what an event has changed. */
export function outdate(client: QueryClient, event: LiveEvent) {
  const old = (queryKey: readonly unknown[]) => client.invalidateQueries({ queryKey });
  void old(["rollout", event.rollout]);
  void old(["app", event.project, event.app]);
  void refreshed(client, event);
}

/** Looks at one app of the list anew, instead of at all of them; others' events may follow closely. */
async function refreshed(client: QueryClient, event: LiveEvent) {
  void client.invalidateQueries({ queryKey: recent.queryKey });
  const known = client.getQueryData(apps.queryKey);
  if (!known) return;
  const same = (it: App) => it.project === event.project && it.app === event.app;
  if (!known.some(same)) {
    void client.invalidateQueries({ queryKey: apps.queryKey });
    return;
  }
  const path = { project: event.project, app: event.app };
  const now = await data(api.GET("/api/v1/apps/{project}/{app}", { params: { path } })).catch(
    () => undefined,
  );
  if (!now) return;
  client.setQueryData(apps.queryKey, (list) =>
    list?.map((it) =>
      same(it) ? { ...it, stable: now.stable?.revision ?? null, rollout: now.rollout } : it,
    ),
  );
}
