import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// In development the API is somewhere else: SLUICE_SERVER names the server.
const server = process.env.SLUICE_SERVER ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  build: { assetsInlineLimit: 0, sourcemap: false },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/auth"].map((path) => [path, { target: server, changeOrigin: true }]),
    ),
  },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"] },
});
