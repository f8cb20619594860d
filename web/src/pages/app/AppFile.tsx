// The app file as YAML: problems at their lines, a dry run before it is saved.
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { stringify } from "yaml";
import { ApiError, api, data, type Schemas } from "../../api/client";
import { Button, Failure } from "../../ui/parts";
import { Plan } from "./PlanPreview";
import { type Placed, placed, read } from "./problems";

interface Props {
  project: string;
  app: string;
  document: unknown;
  version: number;
}

export default function AppFile({ project, app, document, version }: Props) {
  const written = stringify(document, { lineWidth: 0 });
  const [text, setText] = useState(written);
  const [problems, setProblems] = useState<Placed[]>([]);
  const [error, setError] = useState<unknown>();
  const [plan, setPlan] = useState<Schemas["PlanView"]>();
  const [said, setSaid] = useState("");
  const client = useQueryClient();
  const path = { project, app };

  async function tried<T>(
    act: (document: Record<string, never>) => Promise<T>,
  ): Promise<T | undefined> {
    setError(undefined);
    setSaid("");
    const one = read(text);
    setProblems(one.problems);
    if (one.problems.length > 0) return undefined;
    try {
      return await act(one.document as Record<string, never>);
    } catch (it) {
      const fields = it instanceof ApiError ? it.problem.errors : undefined;
      if (fields?.length) setProblems(placed(text, fields.map(inside)));
      else setError(it);
      return undefined;
    }
  }
  async function dryRun() {
    setPlan(undefined);
    const ask = (document: Record<string, never>) =>
      data(api.POST("/api/v1/apps/{project}/{app}/plan", { params: { path }, body: { document } }));
    setPlan(await tried(ask));
  }
  async function save() {
    const put = (body: Record<string, never>) =>
      data(
        api.PUT("/api/v1/apps/{project}/{app}", {
          params: { path, header: { "if-match": `"${version}"` } },
          body,
        }),
      );
    const saved = await tried(put);
    if (saved) {
      setSaid(`Saved as version ${saved.version}. A rollout under way keeps its own plan.`);
      void client.invalidateQueries({ queryKey: ["app", project, app] });
    }
  }
  const lines = text.split("\n").length;
  const marked = new Set(problems.map((it) => it.line));
  return (
    <div className="space-y-3">
      <div className="flex max-h-[30rem] overflow-auto rounded-md border border-line font-mono text-xs leading-5">
        <div
          aria-hidden
          className="border-r border-line bg-ground py-2 text-right text-dim select-none"
        >
          {Array.from({ length: lines }, (_, index) => (
            <div
              // biome-ignore lint/suspicious/noArrayIndexKey: lines are their numbers
              key={index}
              className={`px-2 ${marked.has(index + 1) ? "bg-bad-soft font-bold text-bad" : ""}`}
            >
              {index + 1}
            </div>
          ))}
        </div>
        <textarea
          aria-label="App file"
          spellCheck={false}
          wrap="off"
          rows={lines}
          value={text}
          onChange={(event) => setText(event.target.value)}
          className="min-w-0 flex-1 resize-none overflow-x-auto bg-card p-2 leading-5 whitespace-pre"
        />
      </div>
      {problems.length > 0 && (
        <ul role="alert" className="space-y-1 rounded-md bg-bad-soft px-3 py-2 text-sm text-bad">
          {problems.map((it) => (
            <li key={`${it.line} ${it.text}`}>
              {it.line !== null && <b>line {it.line}: </b>}
              {it.text}
            </li>
          ))}
        </ul>
      )}
      <Failure error={error} />
      <p role="status" className="text-sm text-good">
        {said}
      </p>
      <div className="flex flex-wrap gap-2">
        <Button onPress={() => void dryRun()}>Dry run</Button>
        <Button look="main" onPress={() => void save()} isDisabled={text === written}>
          Save
        </Button>
        {text !== written && (
          <Button
            onPress={() => {
              setText(written);
              setProblems([]);
            }}
          >
            Take back my changes
          </Button>
        )}
      </div>
      {plan && <Plan plan={plan} />}
    </div>
  );
}

/** A dry run wraps the document. */
function inside(it: { pointer: string; detail: string }) {
  return { ...it, pointer: it.pointer.replace(/^\/document(?=\/|$)/, "") };
}
