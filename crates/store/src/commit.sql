-- The one statement of `Store::commit`: all of it happens, or nothing. Parameters as bound there.
WITH lease AS MATERIALIZED (
  -- Locked, so that the shard cannot change hands before this is written.
  SELECT number FROM shard WHERE number = $3 AND epoch = $4 AND owner = $5
    AND expires_at > clock_timestamp() FOR SHARE),
app_lock AS MATERIALIZED (
  -- The app before its rollout, as everybody does: no dead-locks.
  SELECT id FROM app WHERE $15::int IS NOT NULL
    AND id = (SELECT app_id FROM rollout WHERE id = $1) FOR NO KEY UPDATE),
written AS (
  UPDATE rollout SET version = version + 1, updated_at = clock_timestamp(),
      gates = $7, waiting = $8, wake_at = $9,
      plan = coalesce($10, plan),
      stable = CASE WHEN $10::jsonb IS NULL THEN stable
                    ELSE ($10::jsonb ->> 'stable')::int END,
      state = CASE WHEN $12::jsonb IS NULL THEN state ELSE $6 END,
      phase = CASE WHEN $12::jsonb IS NULL THEN phase ELSE $6 ->> 'phase' END,
      ended_at = CASE WHEN $12::jsonb IS NULL THEN ended_at
                      WHEN $11 THEN coalesce(ended_at, clock_timestamp()) END
  WHERE id = $1 AND version = $2
    AND ($3::int IS NULL OR shard IN (SELECT number FROM lease))
    AND ($15::int IS NULL OR EXISTS (SELECT FROM app_lock))
    AND ($12::jsonb IS NOT NULL
         OR state -> 'generation' = $6::jsonb -> 'generation')
  RETURNING *),
recorded AS (
  INSERT INTO transition (rollout_id, project, app, candidate, by, source, event, state)
  SELECT id, project, app, candidate, $13, $21, $12, state FROM written
  WHERE $12::jsonb IS NOT NULL),
measured AS (
  INSERT INTO measurement (rollout_id, gate, cursor, measurement, verdict)
  SELECT w.id, m.gate, m.cursor, m.measurement, m.verdict FROM written w,
    jsonb_to_recordset($14::jsonb) AS m(gate text, cursor jsonb,
                                        measurement jsonb, verdict jsonb)),
settled AS (
  UPDATE app SET stable = $15, updated_at = clock_timestamp()
  FROM written w WHERE app.id = w.app_id AND $15::int IS NOT NULL),
noticed AS (
  INSERT INTO outbox (id, rollout_id, target, kind, payload)
  SELECT n.id, w.id, coalesce(n.target, 'null'), n.kind, coalesce(n.payload, 'null') FROM written w,
    jsonb_to_recordset($16::jsonb) AS n(id uuid, target jsonb, kind text,
                                        payload jsonb)
  -- One that has an id of its own may have been told before.
  ON CONFLICT (id) DO NOTHING),
alerted AS (
  INSERT INTO alert_seen (app_id, fingerprint, starts_at, receiver)
  SELECT $17, $18, $19, $20 FROM written WHERE $17::uuid IS NOT NULL)
SELECT w.version AS "written?", r.version AS "version?",
       $3::int IS NULL OR r.shard IN (SELECT number FROM lease) AS "leased!",
       r.state -> 'generation' = $6::jsonb -> 'generation' AS "same_state?"
FROM (SELECT 1) one
  LEFT JOIN written w ON
    -- Only transitions wake anybody: notifying makes commits wait for each other.
    $12::jsonb IS NULL OR notify_change(w.app_id, w.project, w.app, w.id,
      w.phase = 'aborting', $5)
  LEFT JOIN rollout r ON r.id = $1
