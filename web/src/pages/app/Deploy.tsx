// Begins a rollout.
import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Rocket } from "lucide-react";
import { useState } from "react";
import { api, data } from "../../api/client";
import { Confirm } from "../../ui/Confirm";
import { Field } from "../../ui/parts";

export function Deploy({
  project,
  app,
  stable,
}: {
  project: string;
  app: string;
  stable: string | null;
}) {
  const [artifact, setArtifact] = useState("");
  const client = useQueryClient();
  const navigate = useNavigate();
  return (
    <Confirm
      trigger="Deploy …"
      icon={<Rocket size={16} aria-hidden />}
      look="main"
      title={`Deploy ${app}`}
      effect={
        stable
          ? `A new revision takes over from ${stable} step by step, as the plan below says; a rollout under way is taken back first.`
          : "The first revision is installed and gets all the traffic."
      }
      does="Deploy"
      act={async (comment) => {
        const made = await data(
          api.POST("/api/v1/apps/{project}/{app}/rollouts", {
            params: {
              path: { project, app },
              header: { "idempotency-key": crypto.randomUUID() },
            },
            body: { artifact: artifact.trim(), comment: comment || undefined },
          }),
        );
        void client.invalidateQueries();
        void navigate({ to: "/rollouts/$id", params: { id: made.id } });
      }}
    >
      <Field
        label="Artifact"
        required
        value={artifact}
        onChange={(event) => setArtifact(event.target.value)}
        hint="What to roll out: an image, a path, the name of a pool."
      />
    </Confirm>
  );
}
