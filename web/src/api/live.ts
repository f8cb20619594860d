// What was committed, as it is committed: the server's stream of events, taken up again after a
// break from the last one seen, so that nothing is missed.
import type { Schemas } from "./client";

export type LiveEvent = Schemas["EventView"];
export type LiveState = "connecting" | "live" | "broken";

const RETRY_FIRST = 500;
const RETRY_MOST = 10_000;
/** The server sends something every 15 s; after more silence than this the connection is dead. */
const SILENCE = 40_000;

interface Listener {
  onEvent(event: LiveEvent): void;
  onState(state: LiveState): void;
  /** The stream stands anew and it is not certain that it continues the old one. */
  onFresh(): void;
  /** The server does not know who asks any more. */
  onSignedOut(): void;
}

/** Follows the stream until `signal` is aborted. */
export async function follow(listener: Listener, signal: AbortSignal): Promise<void> {
  let last: string | undefined;
  let pause = RETRY_FIRST;
  while (!signal.aborted) {
    listener.onState("connecting");
    try {
      for await (const part of stream(last, signal)) {
        if (part === "open") {
          pause = RETRY_FIRST;
          listener.onState("live");
          // What was read before the stream stood may be older than its beginning.
          if (last === undefined) listener.onFresh();
        } else {
          last = part.id;
          listener.onEvent(part);
        }
      }
    } catch (error) {
      // An id that the server does not know any more: begin anew.
      if (error instanceof Refused && error.status === 400) last = undefined;
      if (error instanceof Refused && error.status === 401) listener.onSignedOut();
    }
    if (signal.aborted) return;
    listener.onState("broken");
    await waited(pause * (0.75 + Math.random() / 2), signal);
    pause = Math.min(pause * 2, RETRY_MOST);
  }
}

class Refused extends Error {
  constructor(readonly status: number) {
    super(`the stream was refused with ${status}`);
  }
}

async function* stream(
  last: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<"open" | LiveEvent> {
  const silent = new AbortController();
  const stop = () => silent.abort();
  signal.addEventListener("abort", stop);
  let alarm = setTimeout(stop, SILENCE);
  try {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (last !== undefined) headers["last-event-id"] = last;
    const answer = await fetch("/api/v1/events", { headers, signal: silent.signal });
    if (!answer.ok || !answer.body) throw new Refused(answer.status);
    yield "open";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(alarm);
      alarm = setTimeout(stop, SILENCE);
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
    }
  } finally {
    clearTimeout(alarm);
    signal.removeEventListener("abort", stop);
    silent.abort();
  }
}

/** The event of a block of lines; comments keep the connection open and say nothing. */
export function parsed(block: string): LiveEvent | undefined {
  const lines = block.split("\n").filter((it) => it.startsWith("data:"));
  if (lines.length === 0) return undefined;
  return JSON.parse(lines.map((it) => it.slice(5).trimStart()).join("\n")) as LiveEvent;
}

function waited(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const over = new AbortController();
    const now = () => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(now, ms);
    const once = { once: true, signal: over.signal };
    signal.addEventListener("abort", now, once);
    // Awake again: do not wait out a pause that began before.
    addEventListener("online", now, once);
    document.addEventListener("visibilitychange", () => document.hidden || now(), {
      signal: over.signal,
    });
  });
}
