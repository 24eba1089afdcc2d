-- What failed is tried again within hours. What is put off for longer was written by a clock that has been set back
-- since, and is found without a look at all that comes due in months.
CREATE INDEX signings_put_off ON signings (due_at) WHERE attempts > 0;
-- Looks at a purge counted as failures before, and come a day apart.
UPDATE signings SET attempts = 0
WHERE attempts > 0 AND due_at IS NOT NULL AND status NOT IN ('creating', 'uncertain');
