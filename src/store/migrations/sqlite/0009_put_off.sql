-- What failed is tried again within hours. What is put off for longer was written by a clock that has been set back
-- since, and is found without a look at all that comes due in months.
CREATE INDEX signings_put_off ON signings (due_at) WHERE attempts > 0;
