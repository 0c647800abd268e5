-- Erasure of a person: who may take calls away, how they are found, and the receipts that stay.

GRANT DELETE ON calls TO invorto_tenant;  -- all that a call left goes with its row

CREATE INDEX calls_to ON calls (tenant_id, to_party) WHERE to_party IS NOT NULL;
CREATE INDEX calls_from ON calls (tenant_id, from_party) WHERE from_party IS NOT NULL;

CREATE TABLE erasures (
    id         text PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    erased     jsonb NOT NULL,  -- how many of what; nothing that names the person
    by         text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX erasures_by_age ON erasures (tenant_id, created_at, id);
ALTER TABLE erasures ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasures FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON erasures TO invorto_tenant
    USING (tenant_id = (SELECT current_setting('invorto.tenant', true)));
GRANT SELECT, INSERT ON erasures TO invorto_tenant;
