-- What administrators did, and the answers that are given again to whoever asks again with the same Idempotency-Key.

CREATE TABLE audit (
    id         text PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants ON DELETE CASCADE,  -- whose affair it was
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,  -- a key's id, or what a token's bearer is called
    role       text NOT NULL,
    action     text NOT NULL,
    target     text,
    request_id text,
    address    text,
    details    jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_by_age ON audit (tenant_id, at, id);

CREATE TABLE idempotency (
    tenant_id  text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    digest     bytea NOT NULL CHECK (octet_length(digest) = 32),  -- of the key
    request    bytea NOT NULL CHECK (octet_length(request) = 32),  -- of the method, the URL and the body
    claim      uuid NOT NULL,  -- who has another one may not tell how it ended
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status     integer,  -- null: it is still being done
    headers    jsonb,
    body       bytea,  -- null with a status: it held a secret
    PRIMARY KEY (tenant_id, digest)
);
CREATE INDEX idempotency_by_age ON idempotency (tenant_id, claimed_at);

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['audit', 'idempotency'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', kept);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', kept);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO invorto_tenant'
            ' USING (tenant_id = (SELECT current_setting(''invorto.tenant'', true)))', kept);
        EXECUTE format('CREATE POLICY system ON %I TO invorto_system USING (true)', kept);
    END LOOP;
END
$$;
GRANT SELECT, INSERT ON audit TO invorto_tenant, invorto_system;  -- nobody changes what was done
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency TO invorto_tenant;
