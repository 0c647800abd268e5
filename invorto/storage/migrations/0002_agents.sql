-- Agents, and every configuration each of them ever had.

CREATE TABLE agents (
    id         text PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name       text NOT NULL CHECK (name <> ''),
    status     text NOT NULL CHECK (status IN ('active', 'inactive', 'draft')),
    version    integer NOT NULL CHECK (version > 0),
    document   jsonb NOT NULL CHECK (jsonb_typeof(document) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,  -- calls go on naming it
    UNIQUE (tenant_id, id)
);
CREATE UNIQUE INDEX agents_by_name ON agents (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX agents_by_age ON agents (tenant_id, created_at, id) WHERE deleted_at IS NULL;

CREATE TABLE agent_versions (
    tenant_id  text NOT NULL,
    agent_id   text NOT NULL,
    version    integer NOT NULL CHECK (version > 0),
    document   jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, agent_id, version),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents (tenant_id, id) ON DELETE CASCADE
);

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['agents', 'agent_versions'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', kept);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', kept);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO invorto_tenant'
            ' USING (tenant_id = (SELECT current_setting(''invorto.tenant'', true)))', kept);
    END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE ON agents TO invorto_tenant;
GRANT SELECT, INSERT ON agent_versions TO invorto_tenant;
