-- Why: one row a rollout holds everything that a pass needs, so that one read begins a pass and one
-- write ends it. `version` is the compare-and-set of that write.

CREATE TABLE rollout (
    id uuid PRIMARY KEY,
    app_id uuid NOT NULL REFERENCES app,
    -- Copied from the app: lists, events and claims need no join, and they never change.
    project text NOT NULL,
    app text NOT NULL,
    shard integer NOT NULL,
    stable integer CHECK (stable > 0),
    candidate integer NOT NULL CHECK (candidate > 0),
    undo boolean NOT NULL,
    phase text NOT NULL CHECK (phase IN (
        'pending', 'progressing', 'paused', 'promoting', 'aborting',
        'succeeded', 'rolledBack', 'cancelled')),
    plan jsonb NOT NULL,
    state jsonb NOT NULL,
    gates jsonb NOT NULL,
    waiting jsonb,
    wake_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_by text NOT NULL,
    comment text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    FOREIGN KEY (app_id, candidate) REFERENCES revision (app_id, number),
    -- The phase is the state's; a row that says two things would be believed differently by two readers.
    CHECK (phase = state ->> 'phase'),
    CHECK ((ended_at IS NOT NULL) = (phase IN ('succeeded', 'rolledBack', 'cancelled')))
);

-- One active rollout an app, whatever the code does (invariant I3).
CREATE UNIQUE INDEX rollout_one_active ON rollout (app_id)
    WHERE phase IN ('progressing', 'paused', 'promoting', 'aborting');
-- At most one waits for its turn: a newer one takes its place.
CREATE UNIQUE INDEX rollout_one_pending ON rollout (app_id) WHERE phase = 'pending';
-- Newest first within a project and within an app: ids are UUIDs of version 7, which sort by time.
CREATE INDEX rollout_by_project ON rollout (project, id DESC);
CREATE INDEX rollout_by_app ON rollout (app_id, id DESC);
-- Rollouts that somebody must work on, by shard. Ended ones are not in it, so it stays small.
CREATE INDEX rollout_unfinished ON rollout (shard, app_id)
    WHERE phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting');
