// The real parts: `sluice up` with its own Postgres, HAProxy, the sample shop as processes, Chromium.
// Everything is on loopback and free ports, below one temporary folder, and ends with the tests.
import { type ChildProcess, spawn } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";

const ROOT = resolve(import.meta.dirname, "../..");
const SLUICE = process.env.SLUICE_BIN ?? join(ROOT, "target/debug/sluice");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const SOON = 30_000;

export const PHONE = { width: 360, height: 740 };
export const DESK = { width: 1200, height: 900 };

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((done) => {
          const server = createServer();
          server.listen(0, "127.0.0.1", () => done(server));
        }),
    ),
  );
  const ports = servers.map((it) => (it.address() as { port: number }).port);
  await Promise.all(servers.map((it) => new Promise((done) => it.close(done))));
  return ports;
}

/** Waits for a condition, up to a deadline; says what was seen last. */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false>,
): Promise<T> {
  const deadline = Date.now() + SOON;
  let last: unknown;
  while (Date.now() < deadline) {
    try {
      const seen = await look();
      if (seen) return seen;
    } catch (error) {
      last = error;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`waited for ${what} in vain: ${last ?? ""}`);
}

export class World {
  private children: ChildProcess[] = [];
  private server?: ChildProcess;
  private contexts: BrowserContext[] = [];
  readonly complaints: string[] = [];

  private constructor(
    readonly folder: string,
    readonly url: string,
    private readonly ports: { server: number; front: number; first: number },
    private readonly browser: Browser,
  ) {}

  static async start(): Promise<World> {
    for (const it of [SLUICE, CHROMIUM])
      if (!existsSync(it))
        throw new Error(`${it} is missing: run \`make build\` and scripts/packages chromium`);
    const [server = 0, front = 0, metrics = 0, first = 0] = await freePorts(4);
    const folder = mkdtempSync(join(tmpdir(), "sluice-web-"));
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        "--no-sandbox",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
      ],
    });
    const ports = { server, front, first };
    for (const it of ["shop-v1", "shop-v2"])
      copyFileSync(join(ROOT, "deploy/shop", it), join(folder, it));
    const world = new World(folder, `http://127.0.0.1:${server}`, ports, browser);
    try {
      world.startHaproxy(metrics);
      await world.startServer();
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  private startHaproxy(metrics: number) {
    const config = readFileSync(join(ROOT, "deploy/haproxy/haproxy.cfg"), "utf8")
      .replaceAll("/run/haproxy/sluice.sock", join(this.folder, "haproxy.sock"))
      .replaceAll("/etc/haproxy/haproxy.cfg", this.haproxyConfig)
      .replace("127.0.0.1:8000", `127.0.0.1:${this.ports.front}`)
      .replace("127.0.0.1:8405", `127.0.0.1:${metrics}`);
    writeFileSync(this.haproxyConfig, config);
    this.children.push(spawn("haproxy", ["-f", this.haproxyConfig], { stdio: "ignore" }));
  }

  private get haproxyConfig() {
    return join(this.folder, "haproxy.cfg");
  }

  /** Starts the server; also anew, over what the one before left. */
  async startServer() {
    const path = [dirname(SLUICE), process.env.PATH].join(delimiter);
    const { DATABASE_URL: _, ...env } = process.env;
    const args = ["up", "--data", join(this.folder, "data"), "--port", String(this.ports.server)];
    const log = join(this.folder, "server.log");
    this.server = spawn("sh", ["-c", `exec "$0" "$@" >>'${log}' 2>&1`, SLUICE, ...args], {
      env: { ...env, PATH: path, LOG_LEVEL: "info" },
      stdio: "ignore",
    });
    await until("the server", async () => (await fetch(`${this.url}/ready`)).ok);
  }

  async stopServer() {
    await ended(this.server, "SIGTERM");
    this.server = undefined;
  }

  async stop() {
    await Promise.all(this.contexts.map((it) => it.close().catch(() => undefined)));
    await this.browser.close();
    // Instances outlive the server on purpose: the app goes first.
    await this.removeApps().catch(() => undefined);
    await this.stopServer();
    await Promise.all(this.children.map((it) => ended(it, "SIGTERM")));
    if (!process.env.KEEP) rmSync(this.folder, { recursive: true, force: true });
  }

  /** Ends what the app runs: processes in sessions of their own, known by their records. */
  private async removeApps() {
    const pattern = join(this.folder, "data/server/apps");
    await new Promise((done) =>
      spawn("sh", ["-c", KILL, "kill-instances", pattern], { stdio: "ignore" }).on("exit", done),
    );
  }

  get adminToken() {
    return readFileSync(join(this.folder, "data/admin-token"), "utf8").trim();
  }

  /** Calls the API as the admin, or as the holder of `token`. */
  async call<T>(method: string, path: string, body?: unknown, token = this.adminToken): Promise<T> {
    const answer = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return (text ? JSON.parse(text) : undefined) as T;
  }

  /** A token of a person's or machine's. */
  async token(name: string, role: string, more: Record<string, unknown> = {}): Promise<string> {
    const made = await this.call<{ secret: string }>("POST", "/tokens", { name, role, ...more });
    return made.secret;
  }

  /** Describes the sample shop with these canary steps. */
  async applyShop(name: string, steps: unknown[], more: Record<string, unknown> = {}) {
    await this.call("PUT", `/apps/default/${name}`, {
      app: name,
      workload: {
        process: {
          replicas: 2,
          command: ["{{artifact}}"],
          ports: { from: this.ports.first, to: Math.min(this.ports.first + 60, 65_535) },
          ready: { path: "/ready" },
        },
      },
      traffic: {
        haproxy: {
          socket: join(this.folder, "haproxy.sock"),
          backend: "shop",
          configFile: this.haproxyConfig,
        },
      },
      strategy: { canary: { steps, bake: "10m" } },
      drain: "1s",
      alerts: [{ match: { app: name, severity: "critical" }, do: "rollback" }],
      ...more,
    });
  }

  artifact(version: "v1" | "v2") {
    return join(this.folder, `shop-${version}`);
  }

  /** Installs the first revision and waits for it. */
  async install(name: string) {
    const made = await this.deploy(name, "v1");
    await this.reached(made.id, (it) => it.phase === "succeeded");
  }

  deploy(name: string, version: "v1" | "v2", comment?: string): Promise<{ id: string }> {
    return this.call("POST", `/apps/default/${name}/rollouts`, {
      artifact: this.artifact(version),
      comment,
    });
  }

  reached(id: string, is: (rollout: View) => boolean): Promise<View> {
    return until("the rollout", async () => {
      const now = await this.call<View>("GET", `/rollouts/${id}`);
      return is(now)
        ? now
        : Promise.reject(new Error(JSON.stringify([now.phase, now.step, now.waiting])));
    });
  }

  /** A browser of its own, signed in with `token` unless that is `null`. */
  async open(token: string | null, viewport = DESK): Promise<Page> {
    const context = await this.browser.newContext({ viewport, locale: "en-GB" });
    this.contexts.push(context);
    const page = await context.newPage();
    page.on("pageerror", (it) => this.complaints.push(`error: ${it.message}`));
    page.on("console", (it) => {
      // Failed loads are told by what the page shows; what a policy blocks is told here only.
      if (it.type() === "error" && !it.text().startsWith("Failed to load resource"))
        this.complaints.push(it.text());
    });
    await page.goto(this.url);
    if (token !== null) {
      await page.getByLabel("API token").fill(token);
      await page.getByRole("button", { name: "Sign in with the token" }).click();
      await page.getByRole("heading", { name: "Apps", exact: true }).waitFor();
    }
    return page;
  }
}

export interface View {
  id: string;
  phase: string;
  step: string;
  waiting: string | null;
  waitingOn: { kind: string } | null;
}

/** Ends whatever works in a folder below the one given; nothing else is touched. */
const KILL = `
for it in /proc/[0-9]*; do
  case "$(readlink "$it/cwd" 2>/dev/null)" in "$1"/*) kill "\${it#/proc/}" ;; esac
done
`;

function ended(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((done) => {
    child.once("exit", () => done());
    child.kill(signal);
    setTimeout(() => child.kill("SIGKILL"), 20_000).unref();
  });
}
