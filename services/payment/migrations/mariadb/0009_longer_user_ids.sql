-- A user id may be as long as the subject of a token (OpenID Connect Core 1.0, section 2). Both lengths take two bytes to
-- count, so the table is not copied.
ALTER TABLE payments MODIFY user_id VARCHAR(255) NOT NULL;
