-- Tables of the first release. Statements end with a semicolon at the end of a line.

CREATE TABLE accounts (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    max_starting INTEGER DEFAULT '8' NOT NULL,
    max_concurrent INTEGER DEFAULT '32' NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_accounts PRIMARY KEY (id),
    CONSTRAINT uq_accounts_name UNIQUE (name)
);

CREATE TABLE decisions (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    generation INTEGER NOT NULL,
    question TEXT NOT NULL,
    digest TEXT NOT NULL,
    operation TEXT,
    inputs JSONB NOT NULL,
    tzdata TEXT NOT NULL,
    at timestamptz NOT NULL,
    decision TEXT NOT NULL,
    tree JSONB NOT NULL,
    next_check timestamptz,
    CONSTRAINT pk_decisions PRIMARY KEY (id),
    CONSTRAINT uq_decisions_subject_generation_question_digest UNIQUE (subject, generation, question, digest),
    CONSTRAINT ck_decisions_decision CHECK (decision IN ('allow','hold','deny','no_run'))
);
CREATE INDEX ix_decisions_account_at ON decisions (account, at);
CREATE INDEX ix_decisions_operation ON decisions (operation);

CREATE TABLE deliveries (
    hook TEXT NOT NULL,
    guid TEXT NOT NULL,
    event TEXT NOT NULL,
    body BYTEA NOT NULL,
    body_sha256 TEXT NOT NULL,
    attempts INTEGER DEFAULT '1' NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    received_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_deliveries PRIMARY KEY (hook, guid)
);

CREATE TABLE events (
    id BIGSERIAL NOT NULL,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    n TEXT NOT NULL,
    payload JSONB NOT NULL,
    at timestamptz DEFAULT clock_timestamp() NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT pk_events PRIMARY KEY (id),
    CONSTRAINT uq_events_subject_name_n UNIQUE (subject, name, n)
);
CREATE INDEX ix_events_account_id ON events (account, id);

CREATE TABLE hooks (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    repo TEXT NOT NULL,
    secret_sealed BYTEA NOT NULL,
    previous_sealed BYTEA,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_hooks PRIMARY KEY (id)
);

CREATE TABLE idempotency_keys (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    status INTEGER,
    response JSONB,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (account, key)
);

CREATE TABLE inventory (
    target TEXT NOT NULL,
    resource TEXT NOT NULL,
    kind TEXT NOT NULL,
    agent TEXT NOT NULL,
    state TEXT,
    run TEXT,
    test TEXT,
    first_seen timestamptz DEFAULT clock_timestamp() NOT NULL,
    last_seen timestamptz NOT NULL,
    CONSTRAINT pk_inventory PRIMARY KEY (target, resource)
);

CREATE TABLE log_chunks (
    id BIGSERIAL NOT NULL,
    run TEXT NOT NULL,
    test TEXT NOT NULL,
    source TEXT NOT NULL,
    n BIGINT NOT NULL,
    at timestamptz NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL,
    CONSTRAINT pk_log_chunks PRIMARY KEY (id),
    CONSTRAINT uq_log_chunks_run_source_n UNIQUE (run, source, n)
);
CREATE INDEX ix_log_chunks_at ON log_chunks (at);
CREATE INDEX ix_log_chunks_run_id ON log_chunks (run, id);

CREATE TABLE outbox (
    id BIGSERIAL NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    available_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    claim TEXT,
    attempts INTEGER DEFAULT '0' NOT NULL,
    reason TEXT,
    CONSTRAINT pk_outbox PRIMARY KEY (id)
);
CREATE INDEX ix_outbox_available_at ON outbox (available_at);

CREATE TABLE series_points (
    id BIGSERIAL NOT NULL,
    run TEXT NOT NULL,
    test TEXT NOT NULL,
    sample INTEGER NOT NULL,
    second INTEGER NOT NULL,
    at timestamptz DEFAULT clock_timestamp() NOT NULL,
    tps DOUBLE PRECISION NOT NULL,
    latency_ms DOUBLE PRECISION,
    p95_ms DOUBLE PRECISION,
    errors INTEGER DEFAULT '0' NOT NULL,
    CONSTRAINT pk_series_points PRIMARY KEY (id),
    CONSTRAINT uq_series_points_run_test_sample_second UNIQUE (run, test, sample, second)
);
CREATE INDEX ix_series_points_run_id ON series_points (run, id);

CREATE TABLE agents (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    certificate TEXT,
    incarnation TEXT,
    version TEXT,
    labels JSONB DEFAULT '{}' NOT NULL,
    capabilities JSONB DEFAULT '{}' NOT NULL,
    run TEXT,
    test TEXT,
    machine TEXT,
    beat BIGINT DEFAULT '0' NOT NULL,
    status TEXT DEFAULT 'expected' NOT NULL,
    seen_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_agents PRIMARY KEY (id),
    CONSTRAINT ck_agents_role CHECK (role IN ('site','edge')),
    CONSTRAINT ck_agents_status CHECK (status IN ('expected','online','offline','gone','revoked')),
    CONSTRAINT fk_agents_account FOREIGN KEY(account) REFERENCES accounts (id) ON DELETE RESTRICT,
    CONSTRAINT uq_agents_certificate UNIQUE (certificate)
);

CREATE TABLE identities (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    login TEXT NOT NULL,
    roles TEXT[] NOT NULL,
    groups TEXT[] NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_identities PRIMARY KEY (id),
    CONSTRAINT uq_identities_account_login UNIQUE (account, login),
    CONSTRAINT fk_identities_account FOREIGN KEY(account) REFERENCES accounts (id) ON DELETE RESTRICT
);

CREATE TABLE repos (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    github_id BIGINT NOT NULL,
    full_name TEXT NOT NULL,
    clone_url TEXT NOT NULL,
    default_branch TEXT NOT NULL,
    status TEXT DEFAULT 'active' NOT NULL,
    hook TEXT,
    reason TEXT,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_repos PRIMARY KEY (id),
    CONSTRAINT uq_repos_account_github_id UNIQUE (account, github_id),
    CONSTRAINT ck_repos_status CHECK (status IN ('active','suspended','archived','deleted')),
    CONSTRAINT fk_repos_account FOREIGN KEY(account) REFERENCES accounts (id) ON DELETE RESTRICT
);

CREATE TABLE api_tokens (
    hash TEXT NOT NULL,
    identity TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamptz,
    used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT pk_api_tokens PRIMARY KEY (hash),
    CONSTRAINT fk_api_tokens_identity FOREIGN KEY(identity) REFERENCES identities (id) ON DELETE RESTRICT
);

CREATE TABLE enrolments (
    hash TEXT NOT NULL,
    agent TEXT NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    CONSTRAINT pk_enrolments PRIMARY KEY (hash),
    CONSTRAINT fk_enrolments_agent FOREIGN KEY(agent) REFERENCES agents (id) ON DELETE RESTRICT
);

CREATE TABLE repo_refs (
    repo TEXT NOT NULL,
    ref TEXT NOT NULL,
    last_processed TEXT,
    generation BIGINT DEFAULT '0' NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_repo_refs PRIMARY KEY (repo, ref),
    CONSTRAINT fk_repo_refs_repo FOREIGN KEY(repo) REFERENCES repos (id) ON DELETE RESTRICT
);

CREATE TABLE stack_codes (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    repo TEXT NOT NULL,
    ref TEXT NOT NULL,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    tree TEXT NOT NULL,
    commit TEXT NOT NULL,
    bundle TEXT,
    kind TEXT NOT NULL,
    config JSONB NOT NULL,
    errors JSONB DEFAULT '[]' NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    moved_from TEXT,
    registered_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_stack_codes PRIMARY KEY (id),
    CONSTRAINT ck_stack_codes_status CHECK (status IN ('active','rejected','loose','deregistered')),
    CONSTRAINT fk_stack_codes_account FOREIGN KEY(account) REFERENCES accounts (id) ON DELETE RESTRICT,
    CONSTRAINT fk_stack_codes_repo FOREIGN KEY(repo) REFERENCES repos (id) ON DELETE RESTRICT,
    CONSTRAINT fk_stack_codes_moved_from FOREIGN KEY(moved_from) REFERENCES stack_codes (id) ON DELETE RESTRICT
);
CREATE INDEX ix_stack_codes_account_name ON stack_codes (account, name);
CREATE UNIQUE INDEX uq_stack_codes_place ON stack_codes (repo, ref, path) WHERE status <> 'deregistered';

CREATE TABLE stack_states (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    backend TEXT DEFAULT 'managed' NOT NULL,
    key TEXT NOT NULL,
    commit TEXT,
    status TEXT DEFAULT 'empty' NOT NULL,
    epoch BIGINT DEFAULT '0' NOT NULL,
    holder TEXT,
    next_seq BIGINT DEFAULT '1' NOT NULL,
    serial BIGINT,
    lineage TEXT,
    agent TEXT,
    target TEXT,
    parent_operation TEXT,
    test TEXT,
    variables JSONB DEFAULT '{}' NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_stack_states PRIMARY KEY (id),
    CONSTRAINT uq_stack_states_backend_key UNIQUE (backend, key),
    CONSTRAINT uq_stack_states_parent_operation_test UNIQUE (parent_operation, test),
    CONSTRAINT ck_stack_states_status CHECK (status IN ('empty','active','loose','destroying','destroyed','waived')),
    CONSTRAINT fk_stack_states_account FOREIGN KEY(account) REFERENCES accounts (id) ON DELETE RESTRICT,
    CONSTRAINT fk_stack_states_code FOREIGN KEY(code) REFERENCES stack_codes (id) ON DELETE RESTRICT
);
CREATE UNIQUE INDEX uq_stack_states_code_name ON stack_states (code, name) WHERE test IS NULL;

CREATE TABLE leases (
    id TEXT NOT NULL,
    pool INTEGER NOT NULL,
    cidr CIDR NOT NULL,
    state TEXT,
    obligation TEXT,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    foreign_until timestamptz,
    released_at timestamptz,
    CONSTRAINT pk_leases PRIMARY KEY (id),
    CONSTRAINT ex_leases_no_overlap EXCLUDE USING gist (int4range(pool, pool, '[]') WITH &&, cidr inet_ops WITH &&) WHERE (released_at IS NULL),
    CONSTRAINT fk_leases_state FOREIGN KEY(state) REFERENCES stack_states (id) ON DELETE RESTRICT
);
CREATE INDEX ix_leases_state ON leases (state);
