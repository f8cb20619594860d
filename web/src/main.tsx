import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api/client";
import { session } from "./api/queries";
import { makeRouter } from "./router";
import "./styles.css";
import "./theme";

const client: QueryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 1_000,
      retry: (count, error) =>
        count < 2 && !(error instanceof ApiError && error.problem.status < 500),
    },
  },
});
// Whoever is not signed in any more is asked to sign in, wherever that is noticed.
client.getQueryCache().subscribe(({ query }) => {
  const error = query.state.error;
  if (error instanceof ApiError && error.problem.status === 401)
    client.setQueryData(session.queryKey, null);
});

const root = document.getElementById("root");
if (root)
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <RouterProvider router={makeRouter()} />
      </QueryClientProvider>
    </StrictMode>,
  );
