-- Tables of the first release. Statements end with a semicolon at the end of a line.

CREATE TABLE operations (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    parent TEXT,
    code TEXT NOT NULL,
    state TEXT NOT NULL,
    kind TEXT NOT NULL,
    slot TEXT,
    cause TEXT NOT NULL,
    generation BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    priority INTEGER NOT NULL,
    status TEXT NOT NULL,
    changed BOOLEAN,
    verdict TEXT,
    gate JSONB,
    reason TEXT,
    epoch BIGINT,
    digest TEXT,
    branch TEXT NOT NULL,
    commit TEXT NOT NULL,
    trigger JSONB NOT NULL,
    baseline JSONB,
    spec JSONB NOT NULL,
    decision TEXT,
    agent TEXT,
    cancel_requested BOOLEAN DEFAULT 'false' NOT NULL,
    execution TEXT,
    restarts INTEGER DEFAULT '0' NOT NULL,
    blocker TEXT,
    waiting_reason TEXT,
    since timestamptz DEFAULT clock_timestamp() NOT NULL,
    deadline timestamptz,
    next_check timestamptz,
    not_before timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    started_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT pk_operations PRIMARY KEY (id),
    CONSTRAINT uq_operations_state_generation_cause UNIQUE (state, generation, cause),
    CONSTRAINT ck_operations_open_has_deadline CHECK (status IN ('succeeded','failed','cancelled','rejected','superseded') OR deadline IS NOT NULL),
    CONSTRAINT ck_operations_kind CHECK (kind IN ('preview','deploy','benchmark','destroy','drift_check')),
    CONSTRAINT fk_operations_account FOREIGN KEY(account) REFERENCES accounts (id) ON DELETE RESTRICT,
    CONSTRAINT fk_operations_parent FOREIGN KEY(parent) REFERENCES operations (id) ON DELETE RESTRICT,
    CONSTRAINT fk_operations_code FOREIGN KEY(code) REFERENCES stack_codes (id) ON DELETE RESTRICT,
    CONSTRAINT fk_operations_state FOREIGN KEY(state) REFERENCES stack_states (id) ON DELETE RESTRICT
);
CREATE INDEX ix_operations_listed ON operations (account, created_at DESC, id DESC);
CREATE INDEX ix_operations_open ON operations (status) WHERE NOT (status IN ('succeeded','failed','cancelled','rejected','superseded'));
CREATE INDEX ix_operations_parent ON operations (parent);
CREATE INDEX ix_operations_queue ON operations (account, priority, created_at) WHERE epoch IS NULL;
CREATE UNIQUE INDEX uq_operations_current ON operations (state) WHERE epoch IS NOT NULL AND NOT (status IN ('succeeded','failed','cancelled','rejected','superseded')) AND kind IN ('deploy','benchmark','destroy');
CREATE UNIQUE INDEX uq_operations_destroy ON operations (state) WHERE kind = 'destroy' AND NOT (status IN ('succeeded','failed','cancelled','rejected','superseded'));
CREATE UNIQUE INDEX uq_operations_slot ON operations (state, slot) WHERE epoch IS NULL AND NOT (status IN ('succeeded','failed','cancelled','rejected','superseded'));

CREATE TABLE state_versions (
    id BIGSERIAL NOT NULL,
    state TEXT NOT NULL,
    serial BIGINT NOT NULL,
    lineage TEXT NOT NULL,
    operation TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    object TEXT NOT NULL,
    rescued BOOLEAN NOT NULL,
    resources INTEGER NOT NULL,
    at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_state_versions PRIMARY KEY (id),
    CONSTRAINT fk_state_versions_state FOREIGN KEY(state) REFERENCES stack_states (id) ON DELETE RESTRICT
);
CREATE UNIQUE INDEX uq_state_versions_serial ON state_versions (state, serial) WHERE NOT rescued;

CREATE TABLE approvals (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    operation TEXT NOT NULL,
    digest TEXT NOT NULL,
    needed INTEGER NOT NULL,
    groups TEXT[] NOT NULL,
    policy TEXT NOT NULL,
    status TEXT DEFAULT 'open' NOT NULL,
    reason TEXT,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    expires timestamptz NOT NULL,
    CONSTRAINT pk_approvals PRIMARY KEY (id),
    CONSTRAINT ck_approvals_status CHECK (status IN ('open','approved','denied','expired','void')),
    CONSTRAINT fk_approvals_operation FOREIGN KEY(operation) REFERENCES operations (id) ON DELETE RESTRICT
);
CREATE UNIQUE INDEX uq_approvals_open ON approvals (operation) WHERE status = 'open';

CREATE TABLE obligations (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    state TEXT NOT NULL,
    run TEXT NOT NULL,
    kit JSONB NOT NULL,
    status TEXT DEFAULT 'open' NOT NULL,
    due_at timestamptz NOT NULL,
    ladder INTEGER DEFAULT '0' NOT NULL,
    reason TEXT,
    waived_by TEXT,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    closed_at timestamptz,
    CONSTRAINT pk_obligations PRIMARY KEY (id),
    CONSTRAINT ck_obligations_status CHECK (status IN ('open','met','waived')),
    CONSTRAINT ck_obligations_waived_by_a_person CHECK (status <> 'waived' OR waived_by IS NOT NULL),
    CONSTRAINT fk_obligations_state FOREIGN KEY(state) REFERENCES stack_states (id) ON DELETE RESTRICT,
    CONSTRAINT fk_obligations_run FOREIGN KEY(run) REFERENCES operations (id) ON DELETE RESTRICT,
    CONSTRAINT fk_obligations_waived_by FOREIGN KEY(waived_by) REFERENCES identities (id) ON DELETE RESTRICT
);
CREATE UNIQUE INDEX uq_obligations_open ON obligations (state) WHERE status = 'open';

CREATE TABLE phases (
    operation TEXT NOT NULL,
    test TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    iterations INTEGER DEFAULT '1' NOT NULL,
    detail TEXT,
    CONSTRAINT pk_phases PRIMARY KEY (operation, test, name),
    CONSTRAINT fk_phases_operation FOREIGN KEY(operation) REFERENCES operations (id) ON DELETE RESTRICT
);

CREATE TABLE results (
    id TEXT NOT NULL,
    operation TEXT NOT NULL,
    test TEXT NOT NULL,
    side TEXT NOT NULL,
    n INTEGER NOT NULL,
    "order" INTEGER NOT NULL,
    valid BOOLEAN NOT NULL,
    reason TEXT,
    result JSONB NOT NULL,
    artifacts JSONB NOT NULL,
    at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_results PRIMARY KEY (id),
    CONSTRAINT uq_results_operation_test_side_n UNIQUE (operation, test, side, n),
    CONSTRAINT ck_results_side CHECK (side IN ('candidate','baseline')),
    CONSTRAINT fk_results_operation FOREIGN KEY(operation) REFERENCES operations (id) ON DELETE RESTRICT
);

CREATE TABLE steps (
    operation TEXT NOT NULL,
    test TEXT NOT NULL,
    step TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    epoch BIGINT NOT NULL,
    agent TEXT NOT NULL,
    process TEXT NOT NULL,
    beat BIGINT DEFAULT '0' NOT NULL,
    status TEXT DEFAULT 'running' NOT NULL,
    outcome JSONB,
    started_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamptz,
    CONSTRAINT pk_steps PRIMARY KEY (operation, test, step, attempt),
    CONSTRAINT ck_steps_status CHECK (status IN ('running','done','gone')),
    CONSTRAINT ck_steps_outcome_when_done CHECK ((status = 'done') = (outcome IS NOT NULL)),
    CONSTRAINT fk_steps_operation FOREIGN KEY(operation) REFERENCES operations (id) ON DELETE RESTRICT
);

CREATE TABLE tests (
    operation TEXT NOT NULL,
    test TEXT NOT NULL,
    name TEXT NOT NULL,
    cell JSONB DEFAULT '{}' NOT NULL,
    spec JSONB NOT NULL,
    state TEXT,
    agent TEXT,
    placement JSONB,
    status TEXT NOT NULL,
    deadline timestamptz,
    execution TEXT,
    restarts INTEGER DEFAULT '0' NOT NULL,
    verdict TEXT,
    reasons JSONB DEFAULT '[]' NOT NULL,
    warnings JSONB DEFAULT '[]' NOT NULL,
    thresholds JSONB DEFAULT '[]' NOT NULL,
    comparisons JSONB DEFAULT '[]' NOT NULL,
    CONSTRAINT pk_tests PRIMARY KEY (operation, test),
    CONSTRAINT fk_tests_operation FOREIGN KEY(operation) REFERENCES operations (id) ON DELETE RESTRICT,
    CONSTRAINT fk_tests_state FOREIGN KEY(state) REFERENCES stack_states (id) ON DELETE RESTRICT
);

CREATE TABLE votes (
    id TEXT NOT NULL,
    approval TEXT NOT NULL,
    person TEXT NOT NULL,
    value TEXT NOT NULL,
    reason TEXT,
    at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_votes PRIMARY KEY (id),
    CONSTRAINT uq_votes_approval_person UNIQUE (approval, person),
    CONSTRAINT fk_votes_approval FOREIGN KEY(approval) REFERENCES approvals (id) ON DELETE RESTRICT,
    CONSTRAINT fk_votes_person FOREIGN KEY(person) REFERENCES identities (id) ON DELETE RESTRICT
);
