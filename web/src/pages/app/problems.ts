// Where a problem with a document stands in its text.
import { isMap, isPair, isSeq, LineCounter, type Node, parseDocument } from "yaml";

export interface Placed {
  /** From 1; `null`: of the whole. */
  line: number | null;
  text: string;
}

/** A text as the document that it writes, or what is wrong with its writing. */
export function read(text: string): { document?: unknown; problems: Placed[] } {
  const lines = new LineCounter();
  const parsed = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const problems = parsed.errors.map((it) => ({
    line: it.linePos?.[0].line ?? null,
    text: it.message.split("\n")[0] ?? it.message,
  }));
  return problems.length > 0 ? { problems } : { document: parsed.toJS(), problems };
}

/** Places each of the server's problems at the line of what it points to, or of what that is in. */
export function placed(text: string, problems: { pointer: string; detail: string }[]): Placed[] {
  const lines = new LineCounter();
  const root = parseDocument(text, { lineCounter: lines }).contents as Node | null;
  return problems.map((it) => {
    const offset = found(root, keys(it.pointer));
    return { line: offset === null ? null : lines.linePos(offset).line, text: it.detail };
  });
}

function keys(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((it) => it.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** Where the deepest part of the path begins that there is. */
function found(root: Node | null, path: string[]): number | null {
  let node: unknown = root;
  let offset: number | null = root?.range?.[0] ?? null;
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find(
        (it) => isPair(it) && String((it.key as { value?: unknown })?.value) === key,
      );
      if (!pair) return offset;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(key)];
      offset = (node as Node | undefined)?.range?.[0] ?? offset;
    } else return offset;
  }
  return offset;
}
