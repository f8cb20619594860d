// Tokens: who may call, made and taken back.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, data, type Schemas } from "../../api/client";
import { tokens } from "../../api/queries";
import { moment } from "../../time";
import { Confirm } from "../../ui/Confirm";
import { Badge, Button, Card, Choice, Empty, Failure, Field, Loading, Table } from "../../ui/parts";

const ROLES = ["viewer", "deployer", "approver", "operator", "admin"] as const;

export function Tokens() {
  const asked = useQuery(tokens);
  return (
    <div className="space-y-4">
      <NewToken />
      <Card title="Tokens">
        <Failure error={asked.error} />
        {asked.isPending && <Loading what="tokens" />}
        {asked.data?.length === 0 && <Empty>None.</Empty>}
        {asked.data && asked.data.length > 0 && (
          <Table
            caption="Tokens"
            head={["Name", "Rights", "Groups", "Good until", "Last used", ""]}
          >
            {asked.data.map((it) => (
              <Line key={it.id} token={it} />
            ))}
          </Table>
        )}
      </Card>
    </div>
  );
}

function Line({ token }: { token: Schemas["TokenView"] }) {
  const client = useQueryClient();
  return (
    <tr>
      <td className="font-medium">
        {token.name}{" "}
        <span className="text-xs font-normal text-dim">{token.person ? "person" : "machine"}</span>
      </td>
      <td className="whitespace-nowrap">
        {token.role} in {token.project ?? "all projects"}
      </td>
      <td>{token.groups.join(", ")}</td>
      <td className="whitespace-nowrap tabular-nums">{moment(token.expiresAt)}</td>
      <td className="whitespace-nowrap tabular-nums">
        {token.lastUsedAt ? moment(token.lastUsedAt) : "never"}
      </td>
      <td className="text-right">
        {token.revokedAt ? (
          <Badge tone="calm">revoked</Badge>
        ) : (
          <Confirm
            trigger="Revoke"
            look="danger"
            title={`Revoke ${token.name}`}
            effect="Whoever uses it is refused within seconds, on every replica; sessions begun with it end. It cannot be brought back."
            does="Revoke"
            comment="none"
            act={async () => {
              await data(api.DELETE("/api/v1/tokens/{id}", { params: { path: { id: token.id } } }));
              await client.invalidateQueries({ queryKey: tokens.queryKey });
            }}
          />
        )}
      </td>
    </tr>
  );
}

function NewToken() {
  const client = useQueryClient();
  const [secret, setSecret] = useState<string>();
  const [error, setError] = useState<unknown>();
  async function make(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const text = (name: string) => String(new FormData(form).get(name) ?? "").trim();
    const groups = text("groups")
      .split(",")
      .map((it) => it.trim())
      .filter(Boolean);
    const days = Number(text("days"));
    setError(undefined);
    try {
      const made = await data(
        api.POST("/api/v1/tokens", {
          body: {
            name: text("name"),
            role: text("role") as Schemas["RoleWord"],
            project: text("project") || undefined,
            person: text("holder") === "person",
            groups,
            expiresIn: `${days * 24}h`,
          },
        }),
      );
      setSecret(made.secret);
      form.reset();
      await client.invalidateQueries({ queryKey: tokens.queryKey });
    } catch (it) {
      setError(it);
    }
  }
  return (
    <Card title="New token">
      <form onSubmit={make} className="grid gap-3 sm:grid-cols-3">
        <Field label="Name" name="name" required />
        <Choice label="Role" name="role" defaultValue="deployer">
          {ROLES.map((it) => (
            <option key={it}>{it}</option>
          ))}
        </Choice>
        <Choice label="Held by" name="holder" defaultValue="machine">
          <option value="machine">a machine</option>
          <option value="person">a person (may approve)</option>
        </Choice>
        <Field label="Project" name="project" placeholder="all projects" />
        <Field label="Groups" name="groups" placeholder="release-managers, …" />
        <Field
          label="Good for, in days"
          name="days"
          type="number"
          min={1}
          max={90}
          defaultValue={90}
          required
        />
        <div className="sm:col-span-3">
          <Failure error={error} />
          <Button type="submit" look="main">
            Make the token
          </Button>
        </div>
      </form>
      {secret && (
        <div role="status" className="mt-3 rounded-md bg-good-soft p-3 text-sm">
          <p className="font-medium text-good">Made. It is shown this once:</p>
          <code className="mt-1 block break-all select-all" data-testid="secret">
            {secret}
          </code>
        </div>
      )}
    </Card>
  );
}
