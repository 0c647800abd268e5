-- Who may see what: two roles without a login, and row-level security that holds for the tables' owner too.
-- A unit of work begins with SET LOCAL ROLE; without invorto.tenant set, invorto_tenant sees no row of any table.

DO $$
DECLARE
    wanted text;
    finer boolean := current_setting('server_version_num')::int >= 160000;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['invorto_tenant', 'invorto_system'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- roles belong to the whole server: another database's migration was quicker
            END;
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = wanted AND (rolsuper OR rolbypassrls)) THEN
            RAISE EXCEPTION 'the role % bypasses row-level security: alter it, or drop it', wanted;
        END IF;
        -- May become it, and is not it: a member who inherits would be let through by its policies at all times.
        IF NOT pg_has_role(current_user, wanted, CASE WHEN finer THEN 'SET' ELSE 'MEMBER' END) THEN
            EXECUTE format('GRANT %I TO %I %s', wanted, current_user,
                CASE WHEN finer THEN 'WITH INHERIT FALSE, SET TRUE' ELSE '' END);
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA public TO invorto_tenant, invorto_system;

CREATE TABLE tenants (
    id         text PRIMARY KEY CHECK (id ~ '^t_[A-Za-z0-9_-]{1,60}$'),
    name       text NOT NULL CHECK (name <> ''),
    settings   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Before security is forced, which holds for us too. Later migrations that touch rows SET LOCAL ROLE invorto_system.
INSERT INTO tenants (id, name) VALUES ('t_default', 'Default');

CREATE TABLE keys (
    id         text PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('operator', 'admin', 'dev', 'analyst')),
    name       text NOT NULL,
    digest     bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE INDEX keys_of_tenant ON keys (tenant_id, created_at);

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
ALTER TABLE keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE keys FORCE ROW LEVEL SECURITY;

GRANT SELECT ON tenants TO invorto_tenant;
CREATE POLICY tenant ON tenants TO invorto_tenant USING (id = (SELECT current_setting('invorto.tenant', true)));
-- A tenant's admin neither sees nor revokes the installation's operators.
GRANT SELECT, INSERT, UPDATE ON keys TO invorto_tenant;
CREATE POLICY tenant ON keys TO invorto_tenant
    USING (tenant_id = (SELECT current_setting('invorto.tenant', true)) AND role <> 'operator');

GRANT SELECT, INSERT, UPDATE ON tenants, keys TO invorto_system;
CREATE POLICY system ON tenants TO invorto_system USING (true);
CREATE POLICY system ON keys TO invorto_system USING (true);
