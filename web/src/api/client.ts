// The one way to the server: typed by its OpenAPI document, signed in by a cookie that no script sees.
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** What the server says when something is wrong (RFC 9457). */
export type Problem = Partial<Schemas["ProblemBody"]> & { title: string; status: number };

/** An answer that is no success. */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail ?? problem.title);
  }
}

const signedIn: Middleware = {
  onRequest({ request }) {
    // No form of another site can send this header: the server asks for it at every change.
    request.headers.set("X-Sluice-Request", "1");
    return request;
  },
};

export const api = createClient<paths>({ baseUrl: "/" });
api.use(signedIn);

/** The data of an answer, or an {@link ApiError}. */
export async function data<T>(
  asked: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  const { data, error, response } = await asked;
  if (response.ok) return data as T;
  const said = (error ?? {}) as Partial<Problem>;
  throw new ApiError({
    ...said,
    title: said.title ?? "The server's answer cannot be read",
    status: response.status,
  });
}

/** All items of a list that comes in pages. */
export async function all<T>(
  page: (cursor: string | undefined) => Promise<{ items: T[]; nextCursor?: string | null }>,
): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const one = await page(cursor);
    items.push(...one.items);
    cursor = one.nextCursor ?? undefined;
  } while (cursor);
  return items;
}

/** What to say to people about something that went wrong. */
export function words(error: unknown): string {
  if (error instanceof ApiError) {
    const fields = error.problem.errors?.map((it) => `${it.pointer}: ${it.detail}`) ?? [];
    return [error.message, ...fields].join("\n");
  }
  if (error instanceof TypeError) return "The server cannot be reached.";
  return error instanceof Error ? error.message : String(error);
}
