-- Why: who did what, from where, and who was refused. Decisions about rollouts are their history
-- (`transition`), written with the state they change; everything else that people and machines ask for
-- stands here. Both together are the audit log: the view `audit_line`.

-- From which address a decision came; NULL where nobody asked, and before this column was there.
ALTER TABLE transition ADD COLUMN source text;

-- Hashed with the row, where it is known: rows from before keep their hashes.
CREATE OR REPLACE FUNCTION transition_text(t transition) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT (jsonb_build_array(
        t.rollout_id, t.seq, t.project, t.app, t.candidate,
        to_char(t.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        t.by, t.event, t.state)
        || CASE WHEN t.source IS NULL THEN '[]' ELSE jsonb_build_array(t.source) END)::text
$$;

CREATE TABLE audit (
    -- The row's place among those of its transaction, as in `transition`.
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    txid bigint NOT NULL,
    at timestamptz NOT NULL,
    -- The request; its two rows have the same.
    request uuid NOT NULL,
    -- The principal; NULL: nobody knows.
    who text,
    source text NOT NULL,
    -- What was asked for, such as `token.create`.
    action text NOT NULL,
    project text,
    app text,
    rollout uuid,
    -- What it was about, beyond that.
    about jsonb NOT NULL,
    -- The answer's HTTP status. NULL: it is about to be tried. That row is written before anything is
    -- done, so that nothing is ever done without one; a second row tells how it ended.
    status smallint,
    -- Why it was refused.
    detail text
);
CREATE INDEX audit_in_commit_order ON audit (txid, number);
CREATE INDEX audit_by_request ON audit (request);

CREATE FUNCTION audit_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.at := clock_timestamp();
    NEW.txid := pg_current_xact_id()::text::bigint + (SELECT base FROM event_clock);
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_stamp BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_stamp();

CREATE FUNCTION audit_text(a audit) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_array(
        a.number, to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), a.request, a.who,
        a.source, a.action, a.project, a.app, a.rollout, a.about, a.status, a.detail)::text
$$;

-- Both kinds of rows in one order, each with the text that is sealed. A transition's own hash is part
-- of it.
CREATE VIEW audit_line AS
    SELECT t.txid, t.number, 't' AS kind, t.at, NULL::uuid AS request, t.by AS who, t.source,
        'rollout.' || (t.event ->> 'kind') AS action, t.project, t.app, t.rollout_id AS rollout,
        jsonb_build_object('candidate', t.candidate, 'event', t.event) AS about,
        NULL::smallint AS status, NULL::text AS detail,
        transition_text(t) || encode(t.hash, 'hex') AS sealed
    FROM transition t
    UNION ALL
    SELECT a.txid, a.number, 'a', a.at, a.request, a.who, a.source, a.action, a.project, a.app,
        a.rollout, a.about, a.status, a.detail, audit_text(a)
    FROM audit a;

-- The chain over both: each seal covers all rows of transactions `from_txid` to before `to_txid`, and
-- the seal before it. Made behind the writers' backs, so that nobody waits for anybody's turn in it.
CREATE TABLE audit_seal (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    from_txid bigint NOT NULL,
    to_txid bigint NOT NULL,
    lines bigint NOT NULL CHECK (lines > 0),
    -- SHA-256 over the hash before and a line's text, line by line.
    hash bytea NOT NULL
);

-- Seals what no running transaction can add to any more, at most about `most` lines; how many it was.
CREATE FUNCTION seal_audit(most integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    last audit_seal;
    horizon bigint;
    running bytea;
    counted bigint := 0;
    line record;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('sluice seal_audit', 0)) THEN
        RETURN 0;
    END IF;
    SELECT * INTO last FROM audit_seal ORDER BY seq DESC LIMIT 1;
    horizon := pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (SELECT base FROM event_clock);
    -- Whole transactions only: a seal ends between two of them.
    SELECT least(horizon, max(o.txid) + 1) INTO horizon FROM (
        SELECT l.txid FROM audit_line l
        WHERE l.txid >= coalesce(last.to_txid, 0) AND l.txid < horizon
        ORDER BY l.txid LIMIT most) o;
    IF horizon IS NULL THEN
        RETURN 0;
    END IF;
    running := coalesce(last.hash, ''::bytea);
    FOR line IN
        SELECT l.sealed FROM audit_line l
        WHERE l.txid >= coalesce(last.to_txid, 0) AND l.txid < horizon
        ORDER BY l.txid, l.number, l.kind
    LOOP
        running := sha256(running || convert_to(line.sealed, 'UTF8'));
        counted := counted + 1;
    END LOOP;
    IF counted > 0 THEN
        INSERT INTO audit_seal (seq, from_txid, to_txid, lines, hash)
        VALUES (coalesce(last.seq, 0) + 1, coalesce(last.to_txid, 0), horizon, counted, running);
    END IF;
    RETURN counted;
END
$$;

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_append_only;
CREATE TRIGGER audit_seal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE audit_seal ENABLE ALWAYS TRIGGER audit_seal_append_only;

DO $$
BEGIN
    -- As the service's role, where there is one.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_service') THEN
        GRANT SELECT, INSERT ON audit, audit_seal TO sluice_service;
        GRANT SELECT ON audit_line TO sluice_service;
    END IF;
END
$$;
