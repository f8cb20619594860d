// What people do with the dashboard, in a real browser on the real server.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { DESK, PHONE, until, World } from "./world";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const IMAGES = resolve(import.meta.dirname, "../../docs/images");

let world: World;
let person: string;
let approver: string;
let machine: string;

beforeAll(async () => {
  world = await World.start();
  person = await world.token("ann", "operator", { person: true });
  approver = await world.token("bob", "approver", { person: true, groups: ["release-managers"] });
  machine = await world.token("alertmanager", "deployer");
}, 180_000);

afterAll(async () => {
  await world?.stop();
});

afterEach(() => {
  // A script that was blocked or failed is a defect, whatever the page looks like.
  expect(world.complaints.splice(0)).toEqual([]);
});

/** Keeps what is seen now for the README, when asked to. */
async function picture(page: Page, name: string, fullPage = false) {
  if (!process.env.SCREENSHOTS) return;
  mkdirSync(IMAGES, { recursive: true });
  await page.screenshot({ path: resolve(IMAGES, `${name}.png`), fullPage });
}

/** Everything that axe finds wrong, in words. */
async function violations(page: Page): Promise<string[]> {
  // As a tester's tool: it is not subject to what pages may load.
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: AXE });
  const { result } = await session.send("Runtime.evaluate", {
    expression: `axe.run(document).then((it) => JSON.stringify(it.violations.map((v) =>
      v.id + ": " + v.nodes.map((n) => n.target + " " + n.failureSummary).join(" | "))))`,
    awaitPromise: true,
  });
  return JSON.parse(String(result.value));
}

const link = (page: Page, name: string) => page.getByRole("link", { name, exact: true });
const button = (page: Page, name: string | RegExp) => page.getByRole("button", { name });
const text = (page: Page, what: string | RegExp) => page.getByText(what).first();

/** Presses a button, and the one that confirms it. */
async function confirm(page: Page, name: string, comment?: string) {
  await page
    .getByRole("group", { name: "Actions" })
    .getByRole("button", { name, exact: true })
    .click();
  const dialog = page.getByRole("dialog");
  if (comment) await dialog.getByLabel(/Comment|Reason/).fill(comment);
  await dialog.getByRole("button", { name, exact: true }).click();
  await dialog.waitFor({ state: "detached" });
}

test("nobody gets in with a wrong token, and the door says why", async () => {
  const page = await world.open(null);
  await page.getByLabel("API token").fill("sluice_person_nonsense");
  await button(page, "Sign in with the token").click();
  await page.getByRole("alert").waitFor();
  expect(await page.getByRole("alert").innerText()).toContain("unknown");
  expect(await violations(page)).toEqual([]);
  // What is asked for without a session ends at the same door.
  await page.goto(`${world.url}/apps/default/nothing`);
  await page.getByLabel("API token").waitFor();
  await page.context().close();
});

describe("a release", () => {
  test("is run by the mouse, approved from a phone, and taken back by an alert while both watch", async () => {
    await world.applyShop("shop", [
      { setWeight: 20 },
      { pause: {} },
      { approve: { group: "release-managers" } },
      { setWeight: 50 },
    ]);
    await world.install("shop");
    const ann = await world.open(person);
    await link(ann, "shop").click();
    await button(ann, /Deploy/).click();
    const dialog = ann.getByRole("dialog");
    await dialog.getByLabel("Artifact").fill(world.artifact("v2"));
    await dialog.getByLabel("Comment (optional)").fill("new prices");
    await dialog.getByRole("button", { name: "Deploy", exact: true }).click();
    await text(ann, /waits for somebody to promote it/).waitFor();
    await expect.poll(() => ann.getByTestId("candidate-share").innerText()).toBe("20 %");
    await picture(ann, "release-by-mouse");
    await confirm(ann, "Promote", "looks good");
    await text(ann, /waits for approval/).waitFor();
    // Who may not approve is told so, and has no button for it.
    expect(await ann.getByRole("button", { name: "Approve", exact: true }).count()).toBe(0);
    await text(ann, /You cannot approve/).waitFor();

    // Neither may a machine, and that it tried is known.
    const id = new URL(ann.url()).pathname.split("/").pop();
    const approval = { decision: "approve" };
    await expect(
      world.call("POST", `/rollouts/${id}/approvals`, approval, machine),
    ).rejects.toThrow("403");

    const bob = await world.open(approver, PHONE);
    await bob.getByText("Waits for a person", { exact: true }).waitFor();
    await bob.locator('a[href^="/rollouts/"]').first().click();
    await text(bob, /waits for approval/).waitFor();
    await bob.getByRole("button", { name: "Approve", exact: true }).waitFor();
    await picture(bob, "approval-on-a-phone");
    expect(await bob.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    await confirm(bob, "Approve", "go");
    // Both see it without touching anything.
    for (const page of [ann, bob]) {
      await text(page, /approved by token:bob/).waitFor();
      await expect
        .poll(() => page.getByTestId("candidate-share").innerText(), { timeout: 30_000 })
        .toBe("100 %");
    }

    const alert = {
      status: "firing",
      labels: { alertname: "ErrorsHigh", app: "shop", severity: "critical" },
      annotations: { summary: "errors above 5 %" },
      startsAt: new Date().toISOString(),
      fingerprint: "f00d",
    };
    await world.call(
      "POST",
      "/hooks/alertmanager",
      { version: "4", receiver: "sluice", alerts: [alert] },
      machine,
    );
    for (const page of [ann, bob]) await text(page, /ErrorsHigh/).waitFor();
    await text(ann, "Rolled back").waitFor({ timeout: 60_000 });
    await picture(ann, "taken-back-by-an-alert");
    expect(await violations(ann)).toEqual([]);
    await ann.getByRole("button", { name: "Dark colours" }).click();
    expect(await violations(ann)).toEqual([]);
    await ann.context().close();
    await bob.context().close();

    // The audit log tells the story, and is as it was written.
    const root = await world.open(world.adminToken);
    await link(root, "Admin").click();
    await link(root, "Audit log").click();
    await root.getByLabel("App", { exact: true }).fill("shop");
    await root.getByLabel("Action").fill("rollout");
    await button(root, "Show").click();
    for (const told of [
      /token:ann.*rollout of r2 created by token:ann: "new prices"/,
      /token:ann.*promoted by token:ann: "looks good"/,
      /token:alertmanager.*refused: decide on an approval/,
      /token:bob.*approved by token:bob: "go"/,
      /token:alertmanager.*rollback begun: .*ErrorsHigh/,
      /system.*rolled back: r2 has no traffic any more/,
    ])
      await root.getByRole("row").filter({ hasText: told }).first().waitFor();
    expect(root.url()).toContain("app=shop");
    await until("the lines to be sealed", async () => {
      const checked = await world.call<{ unsealed: number }>("GET", "/audit/verification");
      return checked.unsealed === 0;
    });
    await button(root, "Verify the chain").click();
    await text(root, /Intact: \d+ lines sealed, 0 too young/).waitFor();
    await picture(root, "the-audit-log", true);
    expect(await violations(root)).toEqual([]);
    await root.context().close();
  });

  test("every order has its button, says what it would do, and does it", async () => {
    await world.applyShop("shop", [
      { setWeight: 20 },
      { pause: {} },
      { setWeight: 50 },
      { pause: {} },
    ]);
    const { id } = await world.deploy("shop", "v2");
    const page = await world.open(person);
    await page.goto(`${world.url}/rollouts/${id}`);
    await text(page, /waits for somebody to promote it/).waitFor();
    await confirm(page, "Pause");
    await text(page, /is held at/).waitFor();
    await confirm(page, "Resume");
    await text(page, /waits for somebody to promote it/).waitFor();
    await confirm(page, "Retry");
    await text(page, /attempt 2/).waitFor();
    await confirm(page, "Skip the step");
    await expect
      .poll(() => page.getByTestId("candidate-share").innerText(), { timeout: 30_000 })
      .toBe("50 %");
    // What a dialog says is what happens.
    await button(page, "Roll back").click();
    await page.getByRole("dialog").getByText("It gives all traffic back to r1.").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await confirm(page, "Roll back", "not today");
    await text(page, /was rolled back, because aborted by token:ann: "not today"/).waitFor({
      timeout: 60_000,
    });
    await confirm(page, "Retry");
    await text(page, /waits for somebody to promote it/).waitFor();
    await confirm(page, "Promote fully");
    await text(page, /has succeeded and is stable/).waitFor({ timeout: 60_000 });
    await button(page, "Undo …").click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Revision").selectOption("r1");
    await dialog.getByRole("button", { name: "Undo", exact: true }).click();
    await dialog.waitFor({ state: "detached" });
    await page.goto(`${world.url}/apps/default/shop`);
    await text(page, "r1 is stable").waitFor({ timeout: 60_000 });
    await page.context().close();
  });

  test("a stale tab cannot approve what was decided, and the keyboard alone suffices", async () => {
    await world.applyShop("shop", [{ setWeight: 20 }, { approve: {} }, { approve: {} }]);
    const { id } = await world.deploy("shop", "v2");
    const first = await world.open(approver);
    await first.goto(`${world.url}/rollouts/${id}`);
    await text(first, /waits for approval/).waitFor();
    const stale = await first.context().newPage();
    await stale.goto(`${world.url}/rollouts/${id}`);
    await stale.getByRole("button", { name: "Approve", exact: true }).click();
    await stale.getByRole("dialog").waitFor();
    // The step is decided elsewhere, by keys alone.
    const approve = first.getByRole("button", { name: "Approve", exact: true });
    await expect
      .poll(async () => {
        await first.keyboard.press("Tab");
        return approve.evaluate((it) => it === document.activeElement);
      })
      .toBe(true);
    await first.keyboard.press("Enter");
    const dialog = first.getByRole("dialog");
    await dialog.waitFor();
    await expect
      .poll(async () => {
        await first.keyboard.press("Tab");
        return dialog
          .getByRole("button", { name: "Approve", exact: true })
          .evaluate((it) => it === document.activeElement);
      })
      .toBe(true);
    await first.keyboard.press("Enter");
    await dialog.waitFor({ state: "detached" });
    await world.reached(id, (it) => it.step.includes("(4/"));
    // The dialog of the stale tab is about the step before: the server refuses it, and says so.
    const old = stale.getByRole("dialog");
    await old.getByRole("button", { name: "Approve", exact: true }).click();
    await old
      .getByRole("alert")
      .getByText(/look again before deciding/)
      .waitFor();
    const now = await world.call<{ step: string }>("GET", `/rollouts/${id}`);
    expect(now.step).toContain("(4/");
    await world.call("POST", `/rollouts/${id}/commands`, { order: "abort" });
    await world.reached(id, (it) => it.phase === "rolledBack");
    await first.context().close();
  });
});

test("a page that lost its server finds it again, and shows what happened meanwhile", async () => {
  await world.applyShop("shop", [{ setWeight: 20 }, { pause: {} }]);
  const { id } = await world.deploy("shop", "v2");
  await world.reached(id, (it) => it.waitingOn?.kind === "promotion");
  const page = await world.open(person);
  await page.goto(`${world.url}/rollouts/${id}`);
  await text(page, /waits for somebody to promote it/).waitFor();
  await world.stopServer();
  await text(page, /not live|connecting/).waitFor();
  await world.startServer();
  await world.call("POST", `/rollouts/${id}/commands`, {
    order: "abort",
    comment: "while you were away",
  });
  await text(page, /while you were away/).waitFor({ timeout: 60_000 });
  await page.getByRole("status").getByText("live", { exact: true }).waitFor({ timeout: 60_000 });
  await world.reached(id, (it) => it.phase === "rolledBack");
  await page.context().close();
});

test("hostile texts stay texts", async () => {
  const evil = `<img src=x onerror="window.owned=1"><a href="javascript:window.owned=1">x</a>`;
  await world.applyShop("shop", [{ setWeight: 20 }, { pause: {} }]);
  const { id } = await world.deploy("shop", "v2", evil);
  await world.reached(id, (it) => it.waitingOn?.kind === "promotion");
  const page = await world.open(person);
  await page.goto(`${world.url}/rollouts/${id}`);
  await text(page, /onerror/).waitFor();
  await page.goto(`${world.url}/apps/default/${encodeURIComponent(evil)}`);
  await page.getByRole("alert").waitFor();
  await page.goto(`${world.url}/sign-in?problem=${encodeURIComponent(evil)}`);
  expect(await page.evaluate(() => (window as { owned?: number }).owned)).toBeUndefined();
  expect(await page.locator('a[href^="javascript:"], img').count()).toBe(0);
  await world.call("POST", `/rollouts/${id}/commands`, { order: "abort" });
  await world.reached(id, (it) => it.phase === "rolledBack");
  await page.context().close();
});

describe("an app's page", () => {
  test("shows problems of its file at their lines, a dry run, and saves", async () => {
    const page = await world.open(world.adminToken);
    await link(page, "shop").click();
    const file = page.getByLabel("App file");
    const before = await file.inputValue();
    await file.fill(before.replace("setWeight: 20", "setWeight: 120"));
    await button(page, "Dry run").click();
    const line = before.split("\n").findIndex((it) => it.includes("setWeight: 20")) + 1;
    await text(page, `line ${line}: `).waitFor();
    await text(page, /120 is not a weight/).waitFor();
    await file.fill(before.replace("setWeight: 20", "setWeight: 35"));
    await button(page, "Dry run").click();
    await text(page, "setWeight 35").waitFor();
    expect(await violations(page)).toEqual([]);
    await button(page, "Save").click();
    await expect.poll(() => page.getByLabel("App file").inputValue()).toContain("setWeight: 35");
    await page.context().close();
  });
});

test("tokens are made, shown once, and taken back", async () => {
  const page = await world.open(world.adminToken);
  await page.getByRole("navigation").getByRole("link", { name: "Admin" }).click();
  // Until its page is there, the list's search box is what has a name and a project in its label.
  await page.getByRole("heading", { name: "New token" }).waitFor();
  await page.getByLabel("Name").fill("pipeline");
  await page.getByLabel("Project").fill("default");
  await button(page, "Make the token").click();
  const secret = await page.getByTestId("secret").innerText();
  expect(secret).toMatch(/^sluice_ci_/);
  expect(await violations(page)).toEqual([]);
  const who = await world.call<{ principal: string }>("GET", "/whoami", undefined, secret);
  expect(who.principal).toBe("token:pipeline");
  const row = page.getByRole("row", { name: /pipeline/ });
  await row.getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await row.getByText("revoked").waitFor();
  await expect(world.call("GET", "/whoami", undefined, secret)).rejects.toThrow("401");
  await page.context().close();
});

test("freeze windows are made and taken away", async () => {
  const page = await world.open(world.adminToken);
  await page.goto(`${world.url}/admin/freezes`);
  await page.getByLabel("Name").fill("sale");
  await page.getByLabel("Reason").fill("Black Friday");
  await page.getByLabel("From").fill("2030-11-29T06:00");
  await page.getByLabel("Until").fill("2030-12-01T06:00");
  await button(page, "Make the window").click();
  const row = page.getByRole("row", { name: /sale/ });
  await row.getByText(/^next /).waitFor();
  expect(await violations(page)).toEqual([]);
  await row.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await text(page, /None: rollouts begin/).waitFor();
  await page.context().close();
});

test("two thousand apps are found in no time", async () => {
  const apps = Array.from(
    { length: 2000 },
    (_, index) => `service-${String(index).padStart(4, "0")}`,
  );
  const next = apps.values();
  const apply = (project: string, name: string) =>
    // A server that is asked for too much at once says so: then again.
    until("an app to be made", async () => {
      await world.call("PUT", `/apps/${project}/${name}`, {
        app: name,
        project,
        workload: { static: { pools: { blue: ["127.0.0.1:1"], green: ["127.0.0.1:2"] } } },
        traffic: { haproxy: { socket: "/nowhere", backend: name } },
        strategy: { canary: {} },
      });
      return true;
    });
  const make = async () => {
    for (const name of next) await apply("default", name);
  };
  await apply("bank", "ledger");
  await Promise.all(Array.from({ length: 8 }, make));
  const page = await world.open(person);
  await button(page, /^Show all/)
    .first()
    .waitFor();
  const took = await page.evaluate(async () => {
    const input = document.querySelector<HTMLInputElement>('input[type="search"]');
    if (!input) throw new Error("there is no search");
    const write = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value")?.set;
    const found = () =>
      Number(/\d+/.exec(document.querySelector("p.sr-only")?.textContent ?? "")?.[0] ?? Number.NaN);
    const times: number[] = [];
    for (const [text, wanted] of [
      ["service-1", 1000],
      ["service-19", 100],
      ["service-199", 10],
      ["service-1999", 1],
      ["service-", 2000],
    ] as const) {
      const from = performance.now();
      write?.call(input, text);
      input.dispatchEvent(new Event("input", { bubbles: true }));
      while (found() !== wanted) await new Promise(requestAnimationFrame);
      times.push(performance.now() - from);
    }
    return times;
  });
  console.log(`filter among 2,000 apps: ${took.map((it) => `${Math.round(it)} ms`).join(", ")}`);
  // Loosely: machines differ. A second would be felt by everybody.
  expect(Math.max(...took)).toBeLessThan(1000);
  await page.getByLabel("Search by name or project").fill("service-1999");
  await expect.poll(() => page.locator("main li").count()).toBe(1);
  // By project and by phase, as the address says, which somebody else may open.
  await page.getByLabel("Search by name or project").fill("");
  await page.getByLabel("In project").selectOption("bank");
  await expect.poll(() => page.locator("main li").count()).toBe(1);
  expect(new URL(page.url()).searchParams.get("project")).toBe("bank");
  await page.reload();
  await link(page, "bank/ledger").waitFor();
  expect(await page.locator("main li").count()).toBe(1);
  await page.getByLabel("Show", { exact: true }).selectOption("Paused");
  await text(page, "No app matches.").waitFor();
  expect(await violations(page)).toEqual([]);
  await page.setViewportSize(DESK);
  await page.context().close();
}, 240_000);
