-- A user id may be as long as the subject of a token (OpenID Connect Core 1.0, section 2). The rows are not rewritten.
ALTER TABLE notifications ALTER COLUMN user_id TYPE VARCHAR(255);
ALTER TABLE preferences ALTER COLUMN user_id TYPE VARCHAR(255);
