-- Tools that agents name, and the secrets that these take along: sealed, and never given out.

CREATE TABLE tools (
    id         text PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name       text NOT NULL,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);
CREATE INDEX tools_by_age ON tools (tenant_id, created_at, id);

CREATE TABLE secrets (
    id         text PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name       text NOT NULL,
    value      bytea NOT NULL,  -- sealed
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['tools', 'secrets'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', kept);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', kept);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO invorto_tenant'
            ' USING (tenant_id = (SELECT current_setting(''invorto.tenant'', true)))', kept);
        EXECUTE format('CREATE POLICY system ON %I TO invorto_system USING (true)', kept);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO invorto_tenant', kept);
    END LOOP;
END
$$;
