-- content-addressed code. Statements end with a semicolon at the end of a line.

CREATE TABLE git_blobs (
    oid TEXT NOT NULL,
    size BIGINT NOT NULL,
    content BYTEA NOT NULL,
    CONSTRAINT pk_git_blobs PRIMARY KEY (oid),
    CONSTRAINT ck_git_blobs_oid CHECK (oid ~ '^([0-9a-f]{40}|[0-9a-f]{64})$')
);

CREATE TABLE git_entries (
    repo TEXT NOT NULL,
    commit TEXT NOT NULL,
    path TEXT NOT NULL,
    mode TEXT NOT NULL,
    oid TEXT NOT NULL,
    cached_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_git_entries PRIMARY KEY (repo, commit, path),
    CONSTRAINT fk_git_entries_repo FOREIGN KEY(repo) REFERENCES repos (id) ON DELETE CASCADE,
    CONSTRAINT fk_git_entries_oid FOREIGN KEY(oid) REFERENCES git_blobs (oid) ON DELETE RESTRICT
);

CREATE TABLE git_trees (
    repo TEXT NOT NULL,
    commit TEXT NOT NULL,
    path TEXT NOT NULL,
    files TEXT[] NOT NULL,
    cached_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_git_trees PRIMARY KEY (repo, commit, path),
    CONSTRAINT fk_git_trees_repo FOREIGN KEY(repo) REFERENCES repos (id) ON DELETE CASCADE
);

CREATE VIEW git_cache AS
    SELECT r.clone_url AS repo_url, e.commit AS commit_hash, e.path, b.content, e.cached_at
    FROM git_entries e JOIN repos r ON r.id = e.repo JOIN git_blobs b ON b.oid = e.oid;
