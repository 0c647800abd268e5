-- What a model is still to make of calls that are over: a queue, written with the call, emptied with the answer.

CREATE TABLE analyses (
    call_id    text PRIMARY KEY REFERENCES calls ON DELETE CASCADE,
    tenant_id  text NOT NULL,
    asked      jsonb NOT NULL,  -- the model's settings, the schema, and the fact that is told in the end
    attempts   integer NOT NULL DEFAULT 0,
    due_at     timestamptz NOT NULL DEFAULT now(),  -- of a claimed one: until when the claim holds
    token      uuid,  -- of the claim: who has another one may not write the answer
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX analyses_due ON analyses (due_at);

ALTER TABLE analyses ENABLE ROW LEVEL SECURITY;
ALTER TABLE analyses FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON analyses TO invorto_tenant
    USING (tenant_id = (SELECT current_setting('invorto.tenant', true)));
CREATE POLICY system ON analyses TO invorto_system USING (true);
GRANT SELECT, INSERT, DELETE ON analyses TO invorto_tenant;
GRANT SELECT, UPDATE ON analyses TO invorto_system;
