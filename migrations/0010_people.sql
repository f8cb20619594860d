-- Why: people sign in with a browser and machines with what their CI provider says of them. As with
-- tokens, only hashes of secrets are kept: a copy of these tables lets nobody in.

-- A browser that is signed in. It ends by itself, when it is not used, and when somebody ends it.
CREATE TABLE session (
    id uuid PRIMARY KEY,
    hash bytea NOT NULL,
    -- One of the two: the token it was begun with, whose rights it has for as long as the token is
    -- good; or who the identity provider says it is.
    token_id uuid REFERENCES api_token ON DELETE CASCADE,
    issuer text,
    subject text,
    -- As it stands in the history.
    name text NOT NULL,
    -- As the provider said; the rules in the settings turn them into roles at every look.
    groups text[] NOT NULL,
    -- The address it was begun from.
    source text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK ((token_id IS NULL) <> (issuer IS NULL) AND (issuer IS NULL) = (subject IS NULL))
);
CREATE INDEX session_by_end ON session (expires_at);
CREATE INDEX session_by_token ON session (token_id) WHERE token_id IS NOT NULL;

-- A sign-in under way: what must come back from the provider. Read once, by deleting it.
CREATE TABLE sign_in (
    -- Hash of the `state` that goes through the provider.
    state bytea PRIMARY KEY,
    -- Hash of what only the browser that began it has.
    browser bytea NOT NULL,
    nonce text NOT NULL,
    verifier text NOT NULL,
    -- Where on this site to go afterwards.
    next text NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sign_in_by_end ON sign_in (expires_at);

-- ID tokens of CI jobs that were exchanged: each is good for one exchange.
CREATE TABLE id_token_seen (
    issuer text NOT NULL,
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE INDEX id_token_seen_by_end ON id_token_seen (expires_at);

-- Made for one CI job and good for minutes: swept when it has ended, and not listed then.
ALTER TABLE api_token ADD COLUMN exchanged boolean NOT NULL DEFAULT false;
CREATE INDEX api_token_exchanged ON api_token (expires_at) WHERE exchanged;

DO $$
BEGIN
    -- As the service's role, where there is one.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_service') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON session TO sluice_service;
        GRANT SELECT, INSERT, DELETE ON sign_in, id_token_seen TO sluice_service;
        GRANT DELETE ON api_token TO sluice_service;
    END IF;
END
$$;
