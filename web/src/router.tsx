// Which page is where.
import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
} from "@tanstack/react-router";
import { auditSearch } from "./api/audit";
import { NotThere } from "./pages/NotThere";
import { type Filter, Overview } from "./pages/Overview";
import { Shell } from "./pages/Shell";

const root = createRootRoute({ component: Shell, notFoundComponent: NotThere });

const overview = createRoute({
  getParentRoute: () => root,
  path: "/",
  component: Overview,
  validateSearch: (search: Record<string, unknown>): Filter => {
    const given = (key: keyof Filter) => {
      const value = search[key];
      return typeof value === "string" && value !== "" && value !== "all" ? { [key]: value } : {};
    };
    return { ...given("q"), ...given("project"), ...given("show") };
  },
});
const rollout = createRoute({
  getParentRoute: () => root,
  path: "/rollouts/$id",
  component: lazyRouteComponent(() => import("./pages/rollout/RolloutPage"), "RolloutPage"),
});
const app = createRoute({
  getParentRoute: () => root,
  path: "/apps/$project/$app",
  component: lazyRouteComponent(() => import("./pages/app/AppPage"), "AppPage"),
});
const admin = createRoute({
  getParentRoute: () => root,
  path: "/admin",
  component: lazyRouteComponent(() => import("./pages/admin/AdminPage"), "AdminPage"),
});
const adminSection = createRoute({
  getParentRoute: () => root,
  path: "/admin/$section",
  component: lazyRouteComponent(() => import("./pages/admin/AdminPage"), "AdminPage"),
  validateSearch: auditSearch,
});
const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  component: Overview,
  validateSearch: (search: Record<string, unknown>): { problem?: string } =>
    typeof search.problem === "string" ? { problem: search.problem } : {},
});

const tree = root.addChildren([overview, rollout, app, admin, adminSection, signIn]);

export function makeRouter() {
  return createRouter({ routeTree: tree, defaultPreload: "intent", scrollRestoration: true });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
