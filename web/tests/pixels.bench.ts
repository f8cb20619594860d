// From a transition's commit to the picture: `npm run bench` prints it, no test asserts it.
import { expect, test } from "vitest";
import { World } from "./world";

/** Orders, each of which changes the sentence that the page begins with. */
const ORDERS = 60;
/** What the sentence says after each of the two orders. */
const SAYS = { pause: "is held at", resume: "waits for somebody to promote it" } as const;

const percentile = (sorted: number[], part: number) =>
  sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;

test("event to pixel", async () => {
  const world = await World.start();
  try {
    await world.applyShop("shop", [{ setWeight: 20 }, { pause: {} }, { setWeight: 50 }]);
    await world.install("shop");
    const { id } = await world.deploy("shop", "v2");
    await world.reached(id, (it) => it.waitingOn?.kind === "promotion");
    const page = await world.open(await world.token("ann", "operator", { person: true }));
    await page.goto(`${world.url}/rollouts/${id}`);
    await page.getByText(SAYS.resume).first().waitFor();
    const took: number[] = [];
    for (let number = 0; number < ORDERS; number++) {
      const order = number % 2 === 0 ? "pause" : "resume";
      // The frame after the one that draws it: then it is on the screen.
      const seen = page.evaluate(
        (says) =>
          new Promise<number>((done) => {
            const look = () => {
              if (!document.querySelector("main")?.textContent?.includes(says)) return;
              watch.disconnect();
              requestAnimationFrame(() =>
                requestAnimationFrame(() => done(performance.timeOrigin + performance.now())),
              );
            };
            const watch = new MutationObserver(look);
            watch.observe(document.body, { subtree: true, childList: true, characterData: true });
          }),
        SAYS[order],
      );
      await world.call("POST", `/rollouts/${id}/commands`, { order });
      const at = await seen;
      const path = `/rollouts/${id}/history?limit=200`;
      const { items } = await world.call<{ items: { at: string }[] }>("GET", path);
      const commit = Math.max(...items.map((it) => Date.parse(it.at)));
      took.push(at - commit);
    }
    took.sort((a, b) => a - b);
    const [half, most, all] = [0.5, 0.99, 1].map((it) => `${percentile(took, it).toFixed(0)} ms`);
    console.log(`commit → on the screen (${took.length}): p50 ${half}, p99 ${most}, max ${all}`);
    expect(took).toHaveLength(ORDERS);
  } finally {
    await world.stop();
  }
});
