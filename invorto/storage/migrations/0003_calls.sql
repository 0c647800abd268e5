-- Calls, and what each leaves behind.

CREATE TABLE calls (
    id            text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_.-]{1,64}$'),  -- unique over the installation
    tenant_id     text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    agent_id      text NOT NULL,
    agent_version integer NOT NULL,
    agent_config  jsonb,  -- as it was when the call started
    direction     text NOT NULL CHECK (direction IN ('web', 'inbound', 'outbound')),
    status        text NOT NULL CHECK (status IN (
                      'created', 'queued', 'dialing', 'ringing', 'active',
                      'completed', 'failed', 'busy', 'no-answer', 'canceled')),
    end_reason    text,
    epoch         bigint NOT NULL,  -- fences writes: an older one changes nothing
    node_id       text,
    campaign_id   text,
    to_party      text,
    from_party    text,
    created_at    timestamptz NOT NULL,
    started_at    timestamptz,
    ended_at      timestamptz,
    duration      double precision CHECK (duration >= 0),
    cost_inr      numeric(14, 2),
    metadata      jsonb NOT NULL DEFAULT '{}',
    variables     jsonb NOT NULL DEFAULT '{}',
    recording     boolean,
    transcription boolean,
    outbox_seq    integer NOT NULL DEFAULT 0,  -- the number of the call's last fact in the outbox
    FOREIGN KEY (tenant_id, agent_id, agent_version) REFERENCES agent_versions (tenant_id, agent_id, version),
    CHECK ((status IN ('completed', 'failed', 'busy', 'no-answer', 'canceled')) = (ended_at IS NOT NULL)),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX calls_by_age ON calls (tenant_id, created_at, id);
CREATE INDEX calls_by_start ON calls (tenant_id, started_at, id);
CREATE INDEX calls_of_agent ON calls (tenant_id, agent_id, created_at);
CREATE INDEX calls_of_campaign ON calls (tenant_id, campaign_id, created_at) WHERE campaign_id IS NOT NULL;
CREATE INDEX calls_live ON calls (created_at) WHERE ended_at IS NULL;

CREATE TABLE call_results (
    call_id    text PRIMARY KEY REFERENCES calls ON DELETE CASCADE,
    tenant_id  text NOT NULL,
    summary    jsonb,
    analysis   jsonb,
    usage      jsonb NOT NULL DEFAULT '{}',
    consent    jsonb,
    recording  text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE transcripts (
    call_id     text NOT NULL REFERENCES calls ON DELETE CASCADE,
    position    integer NOT NULL,
    tenant_id   text NOT NULL,
    role        text NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    text        text NOT NULL,
    began       double precision NOT NULL,  -- seconds since the start of the call
    ended       double precision NOT NULL,
    turn        integer NOT NULL,
    interrupted boolean NOT NULL,
    heard_by    text CHECK (heard_by IN ('marks', 'timed')),
    confidence  double precision,
    unheard     text,
    PRIMARY KEY (call_id, position)
);

CREATE TABLE costs (
    call_id    text NOT NULL REFERENCES calls ON DELETE CASCADE,
    position   integer NOT NULL,
    tenant_id  text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('transport', 'stt', 'llm', 'tts')),
    provider   text NOT NULL,
    quantity   numeric NOT NULL,
    unit       text NOT NULL CHECK (unit IN ('minutes', 'characters', 'tokens')),
    inr        numeric(14, 4) NOT NULL,  -- to the hundredth of a paisa
    ended_at   timestamptz NOT NULL,     -- the call's, for sums by day
    PRIMARY KEY (call_id, position)
);
CREATE INDEX costs_by_day ON costs (tenant_id, ended_at);

CREATE TABLE call_metrics (
    call_id            text NOT NULL REFERENCES calls ON DELETE CASCADE,
    turn               integer NOT NULL,
    tenant_id          text NOT NULL,
    eou_ms             double precision,
    stt_ms             double precision,
    llm_first_token_ms double precision,
    tts_first_chunk_ms double precision,
    voice_to_voice_ms  double precision,
    PRIMARY KEY (call_id, turn)
);

CREATE TABLE timelines (
    call_id      text NOT NULL REFERENCES calls ON DELETE CASCADE,
    position     integer NOT NULL,
    tenant_id    text NOT NULL,
    id           text NOT NULL,  -- <ms>-<n>
    kind         text NOT NULL,
    payload      jsonb NOT NULL,
    timestamp_ms bigint NOT NULL,
    PRIMARY KEY (call_id, position)
);

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['calls', 'call_results', 'transcripts', 'costs', 'call_metrics', 'timelines'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', kept);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', kept);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO invorto_tenant'
            ' USING (tenant_id = (SELECT current_setting(''invorto.tenant'', true)))', kept);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO invorto_tenant', kept);
    END LOOP;
END
$$;
GRANT UPDATE ON calls, call_results TO invorto_tenant;

-- Whose a call is, which live ones lost their node, and the numbering of their facts.
GRANT SELECT, UPDATE ON calls TO invorto_system;
CREATE POLICY system ON calls TO invorto_system USING (true);
