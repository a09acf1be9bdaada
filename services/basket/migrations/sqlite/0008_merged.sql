-- Guests' baskets whose lines came into this one: [{"basket": id, "cleared_by": id, "units": [[product, units], ...]}, ...].
ALTER TABLE baskets ADD COLUMN merged TEXT;
-- Whose the lines of a guest's basket became, for events about it that come later.
CREATE TABLE forwards (
    basket_id BLOB    PRIMARY KEY,
    user_id   TEXT    NOT NULL,
    noted_at  INTEGER NOT NULL -- unix milliseconds
) STRICT, WITHOUT ROWID;
CREATE INDEX forwards_noted_at ON forwards (noted_at);
