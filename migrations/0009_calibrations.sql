-- Why: what was learnt of stable's traffic before a rollout is used by every rollout after it, on any
-- replica. Of interest is only the newest; what a rollout was judged by is in its own plan.

CREATE TABLE calibration (
    app_id uuid NOT NULL REFERENCES app,
    gate text NOT NULL CHECK (length(gate) BETWEEN 1 AND 253),
    result jsonb NOT NULL,
    calibrated_at timestamptz NOT NULL DEFAULT now(),
    calibrated_by text NOT NULL,
    PRIMARY KEY (app_id, gate)
);

DO $$
BEGIN
    -- As the service's role, where there is one.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_service') THEN
        GRANT SELECT, INSERT, UPDATE ON calibration TO sluice_service;
    END IF;
END
$$;
