-- Endpoints of webhooks, what is delivered to each, and every attempt. The queue and its retries are these rows.

CREATE TABLE webhooks (
    id              text PRIMARY KEY,
    tenant_id       text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    url             text NOT NULL,
    events          text[] NOT NULL CHECK (cardinality(events) > 0),  -- types; '*' is all of them
    description     text NOT NULL DEFAULT '',
    header_names    text[] NOT NULL DEFAULT '{}',
    headers         bytea,  -- sealed: what is sent with each request may be a password
    secret          bytea NOT NULL,  -- sealed
    previous_secret bytea,  -- sealed; signs too until previous_until
    previous_until  timestamptz,
    rate_limit      double precision CHECK (rate_limit > 0),  -- deliveries a second
    rate_tat        timestamptz,  -- when the rate has been paid back: the next delivery's theoretical arrival
    fifo            boolean NOT NULL DEFAULT false,
    legacy          boolean NOT NULL DEFAULT false,
    status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    disabled_reason text CHECK (disabled_reason IN ('gone', 'failing', 'request')),
    disabled_at     timestamptz,
    failures        integer NOT NULL DEFAULT 0,  -- attempts that failed since the last that did not
    failing_since   timestamptz,
    environment     boolean NOT NULL DEFAULT false,  -- made of TENANT_WEBHOOK_URL
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id),
    CHECK ((status = 'disabled') = (disabled_at IS NOT NULL))
);
CREATE INDEX webhooks_by_age ON webhooks (tenant_id, created_at, id);
CREATE UNIQUE INDEX webhooks_of_environment ON webhooks (tenant_id) WHERE environment;

CREATE TABLE deliveries (
    id           text PRIMARY KEY,
    tenant_id    text NOT NULL,
    webhook_id   text NOT NULL,
    event_id     text NOT NULL REFERENCES outbox ON DELETE CASCADE,
    call_id      text,
    seq          integer,
    type         text NOT NULL,
    status       text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dead')),
    attempts     integer NOT NULL DEFAULT 0,
    step         integer NOT NULL DEFAULT 0,  -- attempts since the schedule began, again after a retry by hand
    began_at     timestamptz,  -- the first of them
    due_at       timestamptz NOT NULL DEFAULT now(),  -- of a claimed one: until when the claim holds
    token        uuid,  -- of the claim: who has another one may not tell how it ended
    node_id      text,
    last_status  integer,
    last_error   text,
    exhausted_at timestamptz,  -- when it was given up, also if it was delivered later
    settled_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (event_id, webhook_id),
    FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhooks (tenant_id, id) ON DELETE CASCADE,
    CHECK ((token IS NULL) = (node_id IS NULL)),
    CHECK ((status = 'pending') = (settled_at IS NULL)),
    CHECK (status = 'pending' OR token IS NULL)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE INDEX deliveries_ready ON deliveries (webhook_id, due_at) WHERE status = 'pending';
CREATE INDEX deliveries_claimed ON deliveries (webhook_id) WHERE status = 'pending' AND token IS NOT NULL;
CREATE INDEX deliveries_in_order ON deliveries (webhook_id, call_id, seq) WHERE status = 'pending' AND call_id IS NOT NULL;
CREATE INDEX deliveries_of_webhook ON deliveries (tenant_id, webhook_id, created_at, id);
CREATE INDEX deliveries_dead ON deliveries (tenant_id, created_at, id) WHERE status = 'dead';
CREATE INDEX deliveries_by_age ON deliveries (tenant_id, created_at);
CREATE INDEX deliveries_settled ON deliveries (settled_at) WHERE status <> 'pending';

CREATE TABLE delivery_attempts (
    delivery_id text NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number      integer NOT NULL CHECK (number > 0),
    tenant_id   text NOT NULL,
    at          timestamptz NOT NULL,
    status      integer,  -- of HTTP; null: no answer came
    error       text,  -- null: it was delivered
    ms          double precision NOT NULL CHECK (ms >= 0),
    excerpt     text,
    PRIMARY KEY (delivery_id, number)
);

CREATE INDEX outbox_by_age ON outbox (tenant_id, created_at);
CREATE INDEX outbox_routed ON outbox (created_at) WHERE routed_at IS NOT NULL;

-- Whoever writes a fact wakes those who deliver, when the transaction is committed.
CREATE FUNCTION outbox_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('invorto_webhooks', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER written AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_written();

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['webhooks', 'deliveries', 'delivery_attempts'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', kept);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', kept);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO invorto_tenant'
            ' USING (tenant_id = (SELECT current_setting(''invorto.tenant'', true)))', kept);
        EXECUTE format('CREATE POLICY system ON %I TO invorto_system USING (true)', kept);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO invorto_system', kept);
    END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks, deliveries TO invorto_tenant;
GRANT SELECT ON delivery_attempts TO invorto_tenant;
