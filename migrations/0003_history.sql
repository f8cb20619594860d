-- Why: what happened, for ever. Rows are only ever added; the database numbers them, chains them by
-- hash and refuses to change them, so that the history can be shown to an auditor who does not trust us.

-- Transaction numbers begin again in a cluster restored from a dump, but events are ordered by them.
-- `base` is added to each; `sluice migrate` raises it when it finds a restored history.
CREATE TABLE event_clock (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    base bigint NOT NULL
);
INSERT INTO event_clock (base) VALUES (0);

CREATE TABLE transition (
    rollout_id uuid NOT NULL REFERENCES rollout,
    -- 1..n without a gap, given by the trigger below.
    seq bigint NOT NULL,
    project text NOT NULL,
    app text NOT NULL,
    candidate integer NOT NULL,
    at timestamptz NOT NULL,
    by text NOT NULL,
    event jsonb NOT NULL,
    state jsonb NOT NULL,
    -- SHA-256 over the hash before it and `transition_text` of this row.
    hash bytea NOT NULL,
    -- Who committed when: events are given out in this order, and only below the oldest transaction
    -- that still runs, so that no reader ever skips one that commits late.
    txid bigint NOT NULL,
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (rollout_id, seq)
);
CREATE INDEX transition_in_commit_order ON transition (txid, number);

-- The text that is hashed: a JSON array, so that no two rows have the same text.
CREATE FUNCTION transition_text(t transition) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_array(
        t.rollout_id, t.seq, t.project, t.app, t.candidate,
        to_char(t.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        t.by, t.event, t.state)::text
$$;

CREATE FUNCTION transition_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last_seq bigint;
    last_hash bytea;
    last_txid bigint;
BEGIN
    -- The caller holds the rollout's row, so nobody else adds a row meanwhile; were it otherwise, the
    -- primary key would refuse the second one.
    SELECT t.seq, t.hash, t.txid INTO last_seq, last_hash, last_txid
        FROM transition t WHERE t.rollout_id = NEW.rollout_id ORDER BY t.seq DESC LIMIT 1;
    IF NEW.seq IS NOT NULL AND NEW.seq <> coalesce(last_seq, 0) + 1 THEN
        RAISE EXCEPTION 'transition % of rollout %: the last one is %', NEW.seq, NEW.rollout_id, last_seq
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.seq := coalesce(last_seq, 0) + 1;
    NEW.at := clock_timestamp();
    NEW.txid := pg_current_xact_id()::text::bigint + (SELECT base FROM event_clock);
    IF NEW.txid < last_txid THEN
        -- A transaction that began before its predecessor and waited for it. A new attempt gets a
        -- newer number, which keeps the order of events equal to the order of the history.
        RAISE EXCEPTION 'transition of rollout % out of commit order', NEW.rollout_id
            USING ERRCODE = 'serialization_failure';
    END IF;
    NEW.hash := sha256(coalesce(last_hash, ''::bytea) || convert_to(transition_text(NEW), 'UTF8'));
    RETURN NEW;
END
$$;
CREATE TRIGGER transition_chain BEFORE INSERT ON transition
    FOR EACH ROW EXECUTE FUNCTION transition_chain();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on %: history is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
-- For everybody, the owner included. ALWAYS: a session that plays replication does not get past it.
CREATE TRIGGER transition_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transition
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE transition ENABLE ALWAYS TRIGGER transition_append_only;

-- What gates measured: facts too, but many, and of use for as long as somebody asks why.
CREATE TABLE measurement (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rollout_id uuid NOT NULL REFERENCES rollout,
    gate text NOT NULL,
    cursor jsonb NOT NULL,
    measurement jsonb NOT NULL,
    verdict jsonb NOT NULL
);
CREATE INDEX measurement_by_rollout ON measurement (rollout_id, id);

-- Wakes the replicas and the event streams. A hint only: whoever misses it finds the work by looking.
CREATE FUNCTION notify_change(
    app_id uuid, project text, app text, rollout uuid, urgent boolean, sender uuid
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sluice', json_build_object(
        'kind', 'changed', 'app_id', app_id, 'project', project, 'app', app,
        'rollout', rollout, 'urgent', urgent, 'sender', sender)::text);
    RETURN true;
END
$$;
