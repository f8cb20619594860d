-- Why: the service works as a role that cannot rewrite history, whoever it logs in as. The role has no
-- login; the service takes it with SET ROLE after connecting. Roles belong to the cluster, not to the
-- database, so it may be there already, and the migrating user may lack the right to make it: then the
-- service runs with the migrating user's rights, and the trigger on `transition` is what protects it.

DO $$
DECLARE
    here text := current_schema();
BEGIN
    BEGIN
        CREATE ROLE sluice_service NOLOGIN;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL; -- made before, or at the same moment
        WHEN insufficient_privilege THEN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_service') THEN
                RAISE NOTICE 'may not create the role sluice_service: the service will run as %; '
                    'have an administrator run "CREATE ROLE sluice_service NOLOGIN; '
                    'GRANT sluice_service TO %" and the grants of this migration', current_user, current_user;
                RETURN;
            END IF;
    END;

    EXECUTE format('GRANT USAGE ON SCHEMA %I TO sluice_service', here);
    -- Nothing is ever deleted here, and revisions, transitions and measurements never change.
    GRANT SELECT, INSERT ON revision, transition, measurement TO sluice_service;
    GRANT SELECT, INSERT, UPDATE ON app, rollout, api_token TO sluice_service;
    GRANT SELECT, UPDATE ON shard TO sluice_service;
    GRANT SELECT ON event_clock TO sluice_service;
    -- What is only of use for a while is swept.
    GRANT SELECT, INSERT, UPDATE, DELETE ON replica, outbox TO sluice_service;
    GRANT SELECT, INSERT, DELETE ON idempotency_key, alert_seen TO sluice_service;
    -- To tell a database that is older than the program.
    IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
        GRANT SELECT ON _sqlx_migrations TO sluice_service;
    END IF;

    IF NOT pg_has_role(current_user, 'sluice_service', 'MEMBER') THEN
        BEGIN
            EXECUTE format('GRANT sluice_service TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege OR unique_violation OR internal_error THEN
            RAISE NOTICE 'may not grant sluice_service to %: the service will run as %',
                current_user, current_user;
        END;
    END IF;
END
$$;
