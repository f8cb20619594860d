-- Why: a receiver that hangs or fails must delay nobody else's notices, so each has a lane of its own
-- and the outbox is read lane by lane. And what holds for all apps of a project, so far who is told
-- about their rollouts, is kept once, beside their app files.

-- Notices that go to the same place by the same settings are one lane, delivered in their order.
ALTER TABLE outbox ADD COLUMN lane text NOT NULL GENERATED ALWAYS AS (md5(target::text)) STORED;
CREATE INDEX outbox_lane ON outbox (lane, created_at, id) WHERE closed_at IS NULL;

CREATE TABLE project_settings (
    project text PRIMARY KEY,
    -- As somebody wrote it.
    document jsonb NOT NULL,
    -- Grows with each edit: the ETag.
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL
);

DO $$
BEGIN
    -- As the service's role, where there is one.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_service') THEN
        GRANT SELECT, INSERT, UPDATE ON project_settings TO sluice_service;
    END IF;
END
$$;
