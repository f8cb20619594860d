import { defineConfig } from "vitest/config";

// Stories in a real browser against the real server: one after the other, each waits for what it expects.
export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    fileParallelism: false,
    retry: 0,
  },
});
