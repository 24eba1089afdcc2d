-- What was called upstream, and which of its rules that would have broken, by the hour of the calendar.
CREATE TABLE ledger (
    hour  INTEGER NOT NULL,
    name  TEXT    NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (hour, name)
) STRICT, WITHOUT ROWID;
