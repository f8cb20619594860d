// What a first visit loads must stay small: the page, and what it asks for at once.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const BUDGET = 230_000;
const dist = new URL("../dist/", import.meta.url);
const html = readFileSync(new URL("index.html", dist), "utf8");
const first = [...html.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map((it) => it[1]);
const size = (name) => gzipSync(readFileSync(new URL(name, dist))).length;
const sizes = ["index.html", ...first].map((name) => [name, size(name)]);
const total = sizes.reduce((sum, [, bytes]) => sum + bytes, 0);
for (const [name, bytes] of sizes) console.log(`${String(bytes).padStart(8)}  ${name}`);
const all = readdirSync(new URL("assets/", dist)).length;
console.log(
  `${String(total).padStart(8)}  first load, gzip (budget ${BUDGET}; ${all} files in all)`,
);
if (total > BUDGET) {
  console.error("The first load is over its budget: load what is not needed at once later.");
  process.exit(1);
}
