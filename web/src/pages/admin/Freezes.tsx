// Freeze windows: when nothing new begins.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, data, type Schemas } from "../../api/client";
import { moment } from "../../time";
import { Confirm } from "../../ui/Confirm";
import { Badge, Button, Card, Choice, Empty, Failure, Field, Loading, Table } from "../../ui/parts";

const KEY = ["freezes"];

export function Freezes() {
  const asked = useQuery({
    queryKey: KEY,
    queryFn: async () => (await data(api.GET("/api/v1/freezes"))).items,
  });
  return (
    <div className="space-y-4">
      <NewFreeze />
      <Card title="Freeze windows">
        <Failure error={asked.error} />
        {asked.isPending && <Loading what="freeze windows" />}
        {asked.data?.length === 0 && (
          <Empty>None: rollouts begin whenever they are asked for.</Empty>
        )}
        {asked.data && asked.data.length > 0 && (
          <Table
            caption="Freeze windows"
            head={["Name", "Where", "When", "Now", "What runs", "Why", ""]}
          >
            {asked.data.map((it) => (
              <Line key={it.id} freeze={it} />
            ))}
          </Table>
        )}
      </Card>
    </div>
  );
}

function when(it: Schemas["FreezeView"]): string {
  if (it.once) return `${moment(it.once.from)} – ${moment(it.once.until)}`;
  if (it.recurring)
    return `${it.recurring.cron} for ${it.recurring.duration}, ${it.recurring.timeZone}`;
  return "";
}

function Line({ freeze }: { freeze: Schemas["FreezeView"] }) {
  const client = useQueryClient();
  return (
    <tr>
      <td className="font-medium">{freeze.name}</td>
      <td>{[freeze.project ?? "all projects", freeze.app].filter(Boolean).join("/")}</td>
      <td>{when(freeze)}</td>
      <td className="whitespace-nowrap">
        {freeze.active ? (
          <Badge tone="wait">until {freeze.until ? moment(freeze.until) : "it is removed"}</Badge>
        ) : (
          <span className="text-dim">{freeze.next ? `next ${moment(freeze.next)}` : "over"}</span>
        )}
      </td>
      <td>{freeze.running === "hold" ? "holds" : "finishes"}</td>
      <td>{freeze.reason}</td>
      <td className="text-right">
        <Confirm
          trigger="Remove"
          look="danger"
          title={`Remove ${freeze.name}`}
          effect="What waits for it goes on at once."
          does="Remove"
          comment="none"
          act={async () => {
            await data(api.DELETE("/api/v1/freezes/{id}", { params: { path: { id: freeze.id } } }));
            await client.invalidateQueries({ queryKey: KEY });
          }}
        />
      </td>
    </tr>
  );
}

function NewFreeze() {
  const client = useQueryClient();
  const [kind, setKind] = useState<"once" | "recurring">("once");
  const [error, setError] = useState<unknown>();
  async function make(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const text = (name: string) => String(new FormData(form).get(name) ?? "").trim();
    const at = (name: string) => new Date(text(name)).toISOString();
    setError(undefined);
    try {
      await data(
        api.POST("/api/v1/freezes", {
          body: {
            name: text("name"),
            reason: text("reason"),
            project: text("project") || undefined,
            app: text("app") || undefined,
            running: text("running") as "hold" | "finish",
            ...(kind === "once"
              ? { once: { from: at("from"), until: at("until") } }
              : {
                  recurring: {
                    cron: text("cron"),
                    duration: text("duration"),
                    timeZone: text("timeZone"),
                  },
                }),
          },
        }),
      );
      form.reset();
      await client.invalidateQueries({ queryKey: KEY });
    } catch (it) {
      setError(it);
    }
  }
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return (
    <Card title="New freeze window">
      <form onSubmit={make} className="grid gap-3 sm:grid-cols-3">
        <Field label="Name" name="name" required />
        <Field label="Reason" name="reason" required />
        <Choice label="What runs already" name="running" defaultValue="hold">
          <option value="hold">holds at its step</option>
          <option value="finish">may finish</option>
        </Choice>
        <Field label="Project" name="project" placeholder="all projects" />
        <Field label="App" name="app" placeholder="all apps of the project" />
        <Choice
          label="When"
          value={kind}
          onChange={(event) => setKind(event.target.value as "once" | "recurring")}
        >
          <option value="once">once</option>
          <option value="recurring">again and again</option>
        </Choice>
        {kind === "once" ? (
          <>
            <Field label="From" name="from" type="datetime-local" required />
            <Field label="Until" name="until" type="datetime-local" required />
          </>
        ) : (
          <>
            <Field label="Begins (cron)" name="cron" placeholder="0 18 * * FRI" required />
            <Field label="Lasts" name="duration" placeholder="62h" required />
            <Field label="Time zone" name="timeZone" defaultValue={zone} required />
          </>
        )}
        <div className="sm:col-span-3">
          <Failure error={error} />
          <Button type="submit" look="main">
            Make the window
          </Button>
        </div>
      </form>
    </Card>
  );
}
