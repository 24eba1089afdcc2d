-- Dates are microseconds since 1970 UTC; ids are the 16 bytes of their UUID; what is sealed is a BYTEA.
-- Sealed bytes do not compress: EXTERNAL saves trying.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE signings (
    id           BYTEA    NOT NULL PRIMARY KEY,
    caller       TEXT    NOT NULL,
    key          BYTEA,
    request      BYTEA    NOT NULL,
    reference    TEXT,
    status       TEXT    NOT NULL,
    envelope     TEXT,
    version      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    heard_at     BIGINT NOT NULL,
    ended_at     BIGINT,
    due_at       BIGINT,
    leased_until BIGINT,
    free_at      BIGINT,
    attempts     BIGINT NOT NULL,
    state        TEXT    NOT NULL,
    sealed       BYTEA,
    answer       BYTEA
);

ALTER TABLE signings ALTER sealed SET STORAGE EXTERNAL, ALTER answer SET STORAGE EXTERNAL;

CREATE UNIQUE INDEX signings_key ON signings (key) WHERE key IS NOT NULL;
CREATE INDEX signings_lapse ON signings (created_at) WHERE key IS NOT NULL;
CREATE INDEX signings_caller ON signings (caller, id);
-- An index entry holds 2,700 bytes at most.
CREATE INDEX signings_reference ON signings (caller, left(reference, 255), id) WHERE reference IS NOT NULL;
CREATE INDEX signings_envelope ON signings (envelope) WHERE envelope IS NOT NULL;
CREATE INDEX signings_free ON signings (free_at) WHERE free_at IS NOT NULL;
CREATE INDEX signings_unsettled ON signings (status) WHERE status IN ('creating', 'uncertain');
CREATE INDEX signings_quiet ON signings (heard_at) WHERE status = 'open';
CREATE INDEX signings_personal ON signings (ended_at) WHERE ended_at IS NOT NULL AND sealed IS NOT NULL;
CREATE INDEX signings_ended ON signings (ended_at) WHERE ended_at IS NOT NULL;

-- Apart from the signing, so that a change of it does not write megabytes of documents again.
CREATE TABLE payloads (
    signing BYTEA PRIMARY KEY REFERENCES signings (id) ON DELETE CASCADE,
    body    BYTEA NOT NULL
);

ALTER TABLE payloads ALTER body SET STORAGE EXTERNAL;

CREATE TABLE links (
    id         BYTEA    PRIMARY KEY,
    signing    BYTEA    NOT NULL REFERENCES signings (id) ON DELETE CASCADE,
    signer     BYTEA    NOT NULL,
    token      BYTEA    NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

CREATE INDEX links_signing ON links (signing);

CREATE TABLE inbound (
    pos         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity    BYTEA    NOT NULL UNIQUE,
    received_at BIGINT NOT NULL,
    envelope    TEXT,
    event       TEXT    NOT NULL,
    body        BYTEA    NOT NULL,
    taken_at    BIGINT
);

CREATE INDEX inbound_waiting ON inbound (pos) WHERE taken_at IS NULL;
CREATE INDEX inbound_envelope ON inbound (envelope) WHERE envelope IS NOT NULL;
CREATE INDEX inbound_age ON inbound (received_at);

-- Positions are handed out before commits: what a reader has passed could still be followed by a smaller
-- one. So the order of the outbox is (tx, pos), and what belongs to a transaction that others might still
-- precede is held back (see events() in src/store/postgres/outbox.rs).
CREATE TABLE events (
    pos        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tx         xid8    NOT NULL DEFAULT pg_current_xact_id(),
    stored_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    id         BYTEA   NOT NULL UNIQUE,
    caller     TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    signing    BYTEA,
    signer     BYTEA,
    sequence   BIGINT  NOT NULL,
    at         BIGINT  NOT NULL,
    data       TEXT    NOT NULL,
    fanned_out BOOLEAN NOT NULL DEFAULT false
);

CREATE INDEX events_order ON events (tx, pos);
CREATE INDEX events_caller ON events (caller, tx, pos);
CREATE INDEX events_signing ON events (signing, pos) WHERE signing IS NOT NULL;
CREATE INDEX events_waiting ON events (pos) WHERE NOT fanned_out;
CREATE INDEX events_age ON events (at);

CREATE TABLE endpoints (
    id            BYTEA    PRIMARY KEY,
    caller        TEXT    NOT NULL,
    sealed        BYTEA    NOT NULL,
    events        TEXT    NOT NULL,
    allow_private BOOLEAN NOT NULL,
    from_settings BOOLEAN NOT NULL,
    created_at    BIGINT NOT NULL,
    disabled_at   BIGINT
);

CREATE TABLE deliveries (
    id              BYTEA    PRIMARY KEY,
    event           BYTEA    NOT NULL,
    endpoint        BYTEA    NOT NULL,
    caller          TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    attempts        BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    due_at          BIGINT NOT NULL,
    leased_until    BIGINT,
    attempted_at    BIGINT,
    response_status BIGINT,
    error           TEXT
);

CREATE INDEX deliveries_due ON deliveries (endpoint, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_leased ON deliveries (endpoint, leased_until)
    WHERE state = 'pending' AND leased_until IS NOT NULL;
CREATE INDEX deliveries_caller ON deliveries (caller, id);
CREATE INDEX deliveries_age ON deliveries (created_at);

CREATE TABLE budgets (
    account   TEXT    NOT NULL,
    window_at BIGINT NOT NULL,
    calls     BIGINT NOT NULL,
    PRIMARY KEY (account, window_at)
);

CREATE TABLE senders (
    name         TEXT    PRIMARY KEY,
    user_id      TEXT    NOT NULL,
    account      TEXT    NOT NULL,
    sealed       BYTEA,
    connected_at BIGINT NOT NULL,
    version      BIGINT NOT NULL
);
