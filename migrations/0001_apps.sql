-- Why: what people own. An app is the document they wrote; its revisions are the versions that were
-- ever asked for. A deleted app keeps its row, because the history that points at it must stay true.

CREATE TABLE app (
    id uuid PRIMARY KEY,
    project text NOT NULL CHECK (length(project) BETWEEN 1 AND 253),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 253),
    document jsonb NOT NULL,
    -- Grows with each edit; the API's ETag.
    version bigint NOT NULL DEFAULT 1,
    -- The revision that has the traffic. Written only by the commit that ends a rollout.
    stable integer CHECK (stable > 0),
    -- The newest number given out, so that a number is never used twice.
    last_revision integer NOT NULL DEFAULT 0,
    -- Which lease an app's replica must hold (see `shard`). Fixed for the app's life.
    shard integer NOT NULL CHECK (shard BETWEEN 0 AND 63),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL,
    deleted_at timestamptz
);

-- One living app a name; also the order of the app list.
CREATE UNIQUE INDEX app_name ON app (project, name) WHERE deleted_at IS NULL;
-- Apps to keep at rest, by shard.
CREATE INDEX app_by_shard ON app (shard) WHERE deleted_at IS NULL AND stable IS NOT NULL;

CREATE TABLE revision (
    app_id uuid NOT NULL REFERENCES app,
    number integer NOT NULL CHECK (number > 0),
    artifact text NOT NULL,
    digest text,
    -- The app file it was made with: editing the app later does not change what a revision is.
    document jsonb NOT NULL,
    config_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    PRIMARY KEY (app_id, number)
);
