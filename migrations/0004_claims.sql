-- Why: N replicas share the work without a leader. A replica works on an app only while it holds the
-- lease of the app's shard, and the database refuses what it writes once it does not (invariant I7).
-- Leases are kept a shard, not a rollout, so that ten thousand rollouts cost no more heartbeats than one.
-- All times are the database's: replicas' clocks are never compared.

CREATE TABLE replica (
    id uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

CREATE TABLE shard (
    number integer PRIMARY KEY,
    owner uuid,
    -- Grows whenever the shard changes hands or a lease ran out: what was decided before is void.
    epoch bigint NOT NULL DEFAULT 0,
    expires_at timestamptz,
    CHECK ((owner IS NULL) = (expires_at IS NULL))
) WITH (fillfactor = 50); -- rewritten every two seconds; room for it on the same page saves index work
INSERT INTO shard (number) SELECT generate_series(0, 63);

-- One statement, so that a replica stopped in the middle cannot hold the lock. Renewals go one after
-- the other: two replicas dividing the shards at once would both take the same ones or dead-lock.
CREATE FUNCTION renew_leases(me uuid, ttl interval)
    RETURNS TABLE (shard_number integer, shard_epoch bigint) LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz;
    live integer;
    share integer;
    held integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('sluice renew_leases', 0));
    at := clock_timestamp();
    INSERT INTO replica (id, seen_at) VALUES (me, at)
        ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at;
    DELETE FROM replica WHERE seen_at < at - interval '1 hour';
    SELECT count(*) INTO live FROM replica WHERE seen_at > at - ttl;
    share := ceil(64.0 / greatest(live, 1));

    SELECT count(*) INTO held FROM shard WHERE owner = me AND expires_at > at;
    IF held > share THEN
        UPDATE shard SET owner = NULL, expires_at = NULL WHERE number IN (
            SELECT number FROM shard WHERE owner = me AND expires_at > at
            ORDER BY number DESC LIMIT held - share);
        -- The others need not wait for their next round.
        PERFORM pg_notify('sluice', '{"kind":"leasesFreed"}');
    END IF;
    UPDATE shard SET expires_at = at + ttl WHERE owner = me AND expires_at > at;
    IF held < share THEN
        -- A lease of my own that ran out is taken anew, with a new epoch: I may have been the zombie.
        UPDATE shard SET owner = me, epoch = epoch + 1, expires_at = at + ttl WHERE number IN (
            SELECT number FROM shard WHERE owner IS NULL OR expires_at <= at
            ORDER BY number LIMIT share - held);
    END IF;
    RETURN QUERY SELECT number, epoch FROM shard
        WHERE owner = me AND expires_at > at ORDER BY number;
END
$$;
