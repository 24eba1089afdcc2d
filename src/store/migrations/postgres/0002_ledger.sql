-- What was called upstream, and which of its rules that would have broken, by the hour of the calendar.
CREATE TABLE ledger (
    hour  BIGINT NOT NULL,
    name  TEXT   NOT NULL,
    calls BIGINT NOT NULL,
    PRIMARY KEY (hour, name)
);
