-- Why: who may call, and which calls were already answered. Tokens are kept as hashes: a copy of this
-- table lets nobody in.

CREATE TABLE api_token (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    hash bytea NOT NULL,
    role text NOT NULL,
    -- NULL: every project.
    project text,
    groups text[] NOT NULL,
    -- Whether a person stands behind it: only people approve.
    person boolean NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    revoked_by text
);
CREATE INDEX api_token_by_project ON api_token (project, id);

-- Answers to requests that carried an Idempotency-Key.
CREATE TABLE idempotency_key (
    principal text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    answer jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, route, key)
);
CREATE INDEX idempotency_key_by_age ON idempotency_key (created_at);

-- Alerts that were already acted on: Alertmanager repeats itself, and several of it may run.
CREATE TABLE alert_seen (
    fingerprint text NOT NULL,
    starts_at timestamptz NOT NULL,
    receiver text NOT NULL,
    app_id uuid NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (app_id, fingerprint, starts_at, receiver)
);
CREATE INDEX alert_seen_by_age ON alert_seen (seen_at);
