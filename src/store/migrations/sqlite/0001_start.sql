-- Times are microseconds since 1970, UTC. Ids are the 16 bytes of their UUID.
-- Columns named "…_sealed" are AES-256-GCM under a key of the settings.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE signings (
    id              BLOB PRIMARY KEY,
    caller          TEXT NOT NULL,
    key             BLOB UNIQUE,
    request         BLOB NOT NULL,
    sender          TEXT NOT NULL,
    reference       TEXT,
    status          TEXT NOT NULL,
    envelope        TEXT,
    version         INTEGER NOT NULL,
    state           BLOB NOT NULL,
    personal_sealed BLOB,
    answer_status   INTEGER,
    answer_sealed   BLOB,
    due_at          INTEGER,
    leased_until    INTEGER,
    attempts        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    changed_at      INTEGER NOT NULL,
    ended_at        INTEGER
) STRICT;
CREATE INDEX signings_of_caller ON signings (caller, id);
CREATE INDEX signings_by_reference ON signings (caller, reference) WHERE reference IS NOT NULL;
CREATE UNIQUE INDEX signings_by_envelope ON signings (envelope) WHERE envelope IS NOT NULL;
CREATE INDEX signings_due ON signings (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX signings_unsettled ON signings (id) WHERE status IN ('creating', 'uncertain');
CREATE INDEX signings_open ON signings (changed_at) WHERE status = 'open';
CREATE INDEX signings_ended ON signings (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE payloads (
    signing     BLOB PRIMARY KEY REFERENCES signings (id) ON DELETE CASCADE,
    body_sealed BLOB NOT NULL
) STRICT;

CREATE TABLE links (
    id         BLOB PRIMARY KEY,
    signing    BLOB NOT NULL REFERENCES signings (id) ON DELETE CASCADE,
    signer     BLOB NOT NULL,
    token      BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX links_of_signing ON links (signing);

CREATE TABLE inbound (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    identity    BLOB NOT NULL UNIQUE,
    envelope    TEXT,
    event       TEXT NOT NULL,
    body_sealed BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    taken_at    INTEGER
) STRICT;
CREATE INDEX inbound_waiting ON inbound (position) WHERE taken_at IS NULL;
CREATE INDEX inbound_of_envelope ON inbound (envelope, position);

CREATE TABLE events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id       BLOB NOT NULL UNIQUE,
    caller   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    signing  BLOB,
    signer   BLOB,
    sequence INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    data     TEXT NOT NULL,
    fanned   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX events_of_caller ON events (caller, position);
CREATE INDEX events_of_signing ON events (signing, position);
CREATE INDEX events_to_fan_out ON events (position) WHERE fanned = 0;

CREATE TABLE endpoints (
    id             BLOB PRIMARY KEY,
    caller         TEXT NOT NULL,
    url            TEXT NOT NULL,
    secrets_sealed BLOB NOT NULL,
    events         TEXT NOT NULL,
    allow_private  INTEGER NOT NULL,
    from_settings  INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    disabled_at    INTEGER
) STRICT;

CREATE TABLE deliveries (
    id              BLOB PRIMARY KEY,
    event           BLOB NOT NULL,
    endpoint        BLOB NOT NULL,
    caller          TEXT NOT NULL,
    state           TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    due_at          INTEGER NOT NULL,
    leased_until    INTEGER,
    attempted_at    INTEGER,
    response_status INTEGER,
    error           TEXT
) STRICT;
CREATE INDEX deliveries_due ON deliveries (endpoint, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_of_caller ON deliveries (caller, id);
CREATE INDEX deliveries_of_event ON deliveries (event);

CREATE TABLE spent (
    account TEXT NOT NULL,
    starts  INTEGER NOT NULL,
    calls   INTEGER NOT NULL,
    PRIMARY KEY (account, starts)
) STRICT;

CREATE TABLE connected_senders (
    sender         TEXT PRIMARY KEY,
    user_id        TEXT NOT NULL,
    account        TEXT NOT NULL,
    refresh_sealed BLOB,
    connected_at   INTEGER NOT NULL,
    version        INTEGER NOT NULL
) STRICT;
