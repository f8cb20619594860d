import { defineConfig } from "vitest/config";

// What is measured in a real browser on the real server; prints figures, `npm run bench`.
export default defineConfig({
  test: {
    include: ["tests/**/*.bench.ts"],
    testTimeout: 300_000,
    hookTimeout: 120_000,
    fileParallelism: false,
  },
});
