-- Why: times in which nothing new may begin. A window is never deleted, only taken away, so that the
-- history of a rollout that it held can be understood later. When it comes round is worked out by the
-- service, from `rule`: time zones and calendars are not the database's strength.

CREATE TABLE freeze_window (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    -- NULL: every project. An app is named with its project.
    project text,
    app text,
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    rule jsonb NOT NULL,
    running text NOT NULL CHECK (running IN ('hold', 'finish')),
    -- When a window that comes once is over; NULL: it comes round again and again.
    ends_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    removed_at timestamptz,
    removed_by text,
    CHECK (app IS NULL OR project IS NOT NULL)
);
-- People name windows by their names.
CREATE UNIQUE INDEX freeze_window_name ON freeze_window (name, coalesce(project, '')) WHERE removed_at IS NULL;

-- Wakes the rollouts that a window may concern.
CREATE FUNCTION notify_freeze(f freeze_window) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(notify_change(r.app_id, r.project, r.app, r.id, false, NULL))
    FROM rollout r
    WHERE r.phase IN ('pending', 'progressing', 'paused', 'promoting')
      AND (f.project IS NULL OR f.project = r.project)
      AND (f.app IS NULL OR f.app = r.app)
$$;

DO $$
BEGIN
    -- As the service's role, where there is one.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_service') THEN
        GRANT SELECT, INSERT, UPDATE ON freeze_window TO sluice_service;
    END IF;
END
$$;
