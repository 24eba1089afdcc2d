-- Every event asks which endpoints its caller has: without an index, with thousands of them, it reads all.
CREATE INDEX endpoints_caller ON endpoints (caller);
