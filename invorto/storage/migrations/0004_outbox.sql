-- Facts for webhooks, written in the transaction of the fact; deliveries come in tables of their own.

CREATE TABLE outbox (
    event_id   text PRIMARY KEY,
    position   bigint GENERATED ALWAYS AS IDENTITY UNIQUE,  -- the order of writing, with gaps
    tenant_id  text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    call_id    text,
    seq        integer,  -- the order within the call
    type       text NOT NULL,
    data       jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    routed_at  timestamptz  -- when it became deliveries, one for each endpoint that wants it
);
CREATE INDEX outbox_to_route ON outbox (position) WHERE routed_at IS NULL;
CREATE INDEX outbox_of_call ON outbox (call_id, seq) WHERE call_id IS NOT NULL;

ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON outbox TO invorto_tenant
    USING (tenant_id = (SELECT current_setting('invorto.tenant', true)));
GRANT SELECT, INSERT ON outbox TO invorto_tenant;
CREATE POLICY system ON outbox TO invorto_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO invorto_system;
