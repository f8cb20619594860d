// The parts that decide something, held to tables.
import { describe, expect, test } from "vitest";
import { parsed } from "./api/live";
import type { App, Summary } from "./api/queries";
import { placed, read } from "./pages/app/problems";
import { filtered, rows } from "./pages/Overview";
import { series } from "./pages/rollout/GateChart";
import { between, duration } from "./time";

describe("times", () => {
  test.each([
    [0, "0 s"],
    [0.23, "0.2 s"],
    [9.4, "9.4 s"],
    [59.6, "1 min"],
    [95, "1 min 35 s"],
    [3600, "1 h"],
    [90_000, "1 d 1 h"],
    [-5, "0 s"],
  ])("%d seconds are %s", (seconds, words) => expect(duration(seconds)).toBe(words));

  test("between two moments", () =>
    expect(between("2026-11-27T10:00:00Z", "2026-11-27T10:01:30Z")).toBe(90));
});

describe("the stream of events", () => {
  test("comments say nothing", () => expect(parsed(":")).toBeUndefined());
  test("data may be broken into lines", () =>
    expect(parsed('event: stepDone\nid: 7\ndata: {"id":\ndata: "7"}')).toEqual({ id: "7" }));
});

describe("problems with an app file", () => {
  const text =
    "app: shop\nstrategy:\n  canary:\n    steps:\n      - setWeight: 120\n      - pause: 2m\n";
  test.each([
    ["/strategy/canary/steps/0/setWeight", 5],
    ["/strategy/canary/steps/1", 6],
    ["/strategy/canary/missing", 3],
    ["", 1],
    ["/nothing/of/this", 1],
  ])("%s stands in line %d", (pointer, line) =>
    expect(placed(text, [{ pointer, detail: "wrong" }])).toEqual([{ line, text: "wrong" }]),
  );
  test("what cannot be read is named with its line", () => {
    const { document, problems } = read("app: shop\napp: twice\n");
    expect(document).toBeUndefined();
    expect(problems).toHaveLength(1);
    expect(problems[0]?.line).toBe(2);
  });
});

describe("the overview", () => {
  const app = (name: string, rollout?: Partial<Summary>) =>
    ({ project: "default", app: name, stable: "r1", rollout: rollout ?? null }) as App;
  const summary = (name: string, phase: string) =>
    ({ project: "default", app: name, phase, id: name }) as Summary;
  test("what needs somebody is told from what goes on by itself", () => {
    const all = [
      app("held", { phase: "paused", needsPerson: true }),
      app("moving", { phase: "progressing", needsPerson: false }),
      app("rest"),
      app("back"),
      app("mended"),
    ];
    const newest = [
      summary("back", "rolledBack"),
      summary("mended", "succeeded"),
      summary("mended", "rolledBack"),
    ];
    expect(rows(all, newest).map((it) => it.group)).toEqual([
      "needsYou",
      "moving",
      "rest",
      "needsYou",
      "rest",
    ]);
  });
  test.each([
    [{}, ["shop/cart", "shop/web", "bank/web"]],
    [{ q: " WEB" }, ["shop/web", "bank/web"]],
    [{ project: "shop" }, ["shop/cart", "shop/web"]],
    [{ project: "shop", show: "needsYou" }, ["shop/web"]],
    [{ show: "paused" }, ["shop/web"]],
    [{ show: "progressing", q: "bank" }, ["bank/web"]],
    [{ project: "gone" }, []],
  ])("%j finds %j", (filter, expected) => {
    const all = [
      { ...app("cart"), project: "shop" },
      { ...app("web", { phase: "paused", needsPerson: true }), project: "shop" },
      { ...app("web", { phase: "progressing", needsPerson: false }), project: "bank" },
    ];
    const found = filtered(rows(all, []), filter);
    expect(found.map((it) => it.text)).toEqual(expected);
  });
});

test("a chart has both revisions where both were counted, and gaps where nobody asked", () => {
  const row = (candidate: object, stable: object) =>
    ({ at: "2026-11-27T10:00:00Z", evidence: { candidate, stable } }) as never;
  const drawn = series([
    row({ requests: 50, errors: 1 }, { requests: 200, errors: 1 }),
    row({ requests: 0, errors: 0 }, { requests: 100, errors: 0 }),
  ]);
  expect(drawn.candidate).toEqual([2, null]);
  expect(drawn.stable).toEqual([0.5, 0]);
  const one = series([{ at: "2026-11-27T10:00:00Z", value: 0.25 } as never]);
  expect([one.both, one.candidate]).toEqual([false, [0.25]]);
});
