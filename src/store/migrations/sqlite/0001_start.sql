-- Dates are microseconds since 1970 UTC; ids are the 16 bytes of their UUID; what is sealed is a BLOB.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (name, value) VALUES ('fanned_out', 0), ('checked_at', 0);

CREATE TABLE signings (
    id           BLOB    NOT NULL PRIMARY KEY,
    caller       TEXT    NOT NULL,
    key          BLOB,
    request      BLOB    NOT NULL,
    reference    TEXT,
    status       TEXT    NOT NULL,
    envelope     TEXT,
    version      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    heard_at     INTEGER NOT NULL,
    ended_at     INTEGER,
    due_at       INTEGER,
    leased_until INTEGER,
    free_at      INTEGER,
    attempts     INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    sealed       BLOB,
    answer       BLOB
) STRICT;

CREATE UNIQUE INDEX signings_key ON signings (key) WHERE key IS NOT NULL;
CREATE INDEX signings_lapse ON signings (created_at) WHERE key IS NOT NULL;
CREATE INDEX signings_caller ON signings (caller, id);
CREATE INDEX signings_reference ON signings (caller, reference, id) WHERE reference IS NOT NULL;
CREATE INDEX signings_envelope ON signings (envelope) WHERE envelope IS NOT NULL;
CREATE INDEX signings_free ON signings (free_at) WHERE free_at IS NOT NULL;
CREATE INDEX signings_unsettled ON signings (status) WHERE status IN ('creating', 'uncertain');
CREATE INDEX signings_quiet ON signings (heard_at) WHERE status = 'open';
CREATE INDEX signings_personal ON signings (ended_at) WHERE ended_at IS NOT NULL AND sealed IS NOT NULL;
CREATE INDEX signings_ended ON signings (ended_at) WHERE ended_at IS NOT NULL;

-- Apart from the signing, so that a change of it does not write megabytes of documents again.
CREATE TABLE payloads (
    signing BLOB PRIMARY KEY REFERENCES signings (id) ON DELETE CASCADE,
    body    BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE links (
    id         BLOB    PRIMARY KEY,
    signing    BLOB    NOT NULL REFERENCES signings (id) ON DELETE CASCADE,
    signer     BLOB    NOT NULL,
    token      BLOB    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX links_signing ON links (signing);

CREATE TABLE inbound (
    pos         INTEGER PRIMARY KEY,
    identity    BLOB    NOT NULL UNIQUE,
    received_at INTEGER NOT NULL,
    envelope    TEXT,
    event       TEXT    NOT NULL,
    body        BLOB    NOT NULL,
    taken_at    INTEGER
) STRICT;

CREATE INDEX inbound_waiting ON inbound (pos) WHERE taken_at IS NULL;
CREATE INDEX inbound_envelope ON inbound (envelope) WHERE envelope IS NOT NULL;
CREATE INDEX inbound_age ON inbound (received_at);

-- `pos` is the order of the outbox; `fanned_out` is the last one that deliveries were made of.
CREATE TABLE events (
    pos      INTEGER PRIMARY KEY,
    id       BLOB    NOT NULL UNIQUE,
    caller   TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    signing  BLOB,
    signer   BLOB,
    sequence INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    data     TEXT    NOT NULL
) STRICT;

CREATE INDEX events_caller ON events (caller, pos);
CREATE INDEX events_signing ON events (signing, pos) WHERE signing IS NOT NULL;

CREATE TABLE endpoints (
    id            BLOB    PRIMARY KEY,
    caller        TEXT    NOT NULL,
    sealed        BLOB    NOT NULL,
    events        TEXT    NOT NULL,
    allow_private INTEGER NOT NULL,
    from_settings INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    disabled_at   INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    id              BLOB    PRIMARY KEY,
    event           BLOB    NOT NULL,
    endpoint        BLOB    NOT NULL,
    caller          TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    attempts        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    due_at          INTEGER NOT NULL,
    leased_until    INTEGER,
    attempted_at    INTEGER,
    response_status INTEGER,
    error           TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_due ON deliveries (endpoint, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_leased ON deliveries (endpoint, leased_until)
    WHERE state = 'pending' AND leased_until IS NOT NULL;
CREATE INDEX deliveries_caller ON deliveries (caller, id);
CREATE INDEX deliveries_age ON deliveries (created_at);

CREATE TABLE budgets (
    account   TEXT    NOT NULL,
    window_at INTEGER NOT NULL,
    calls     INTEGER NOT NULL,
    PRIMARY KEY (account, window_at)
) STRICT, WITHOUT ROWID;

CREATE TABLE senders (
    name         TEXT    PRIMARY KEY,
    user_id      TEXT    NOT NULL,
    account      TEXT    NOT NULL,
    sealed       BLOB,
    connected_at INTEGER NOT NULL,
    version      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
