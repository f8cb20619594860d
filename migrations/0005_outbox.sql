-- Why: what must reach the outside world is written with the transition that causes it, and sent from
-- here until it is acknowledged: at least once for each committed transition, never for another (I13).

CREATE TABLE outbox (
    -- Also the notice's id for its receiver, who may get it twice.
    id uuid PRIMARY KEY,
    rollout_id uuid REFERENCES rollout,
    target jsonb NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    -- When it may be tried (again); moved forward while somebody tries.
    due_at timestamptz NOT NULL DEFAULT now(),
    -- Delivered, or given up for good.
    closed_at timestamptz,
    gone boolean NOT NULL DEFAULT false,
    last_error text
);
CREATE INDEX outbox_due ON outbox (due_at) WHERE closed_at IS NULL;
CREATE INDEX outbox_closed ON outbox (closed_at) WHERE closed_at IS NOT NULL;
