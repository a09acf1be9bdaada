-- Search by what readers see alike: the service folds name and description (domain/fold.rs) and writes their words here.
-- Every statement is quick whatever the table holds: rows of before are folded by the service, batch by batch.
ALTER TABLE products
    ADD COLUMN words   TEXT    NOT NULL DEFAULT '',
    ADD COLUMN folding INTEGER NOT NULL DEFAULT 0; -- which folding wrote words and name_folded
CREATE INDEX products_to_fold ON products (id) WHERE folding <> 1;

-- The stemmer that SQLite has too, and no stop words: both stores find the same.
CREATE TEXT SEARCH DICTIONARY product_stems (TEMPLATE = pg_catalog.snowball, LANGUAGE = porter);
CREATE TEXT SEARCH CONFIGURATION product_words (COPY = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION product_words ALTER MAPPING REPLACE pg_catalog.simple WITH product_stems;

-- Filled by the trigger and not generated, which would rewrite the table under a lock.
ALTER TABLE products DROP COLUMN search;
ALTER TABLE products ADD COLUMN search TSVECTOR;
CREATE INDEX products_search ON products USING gin (search);
ALTER TABLE products ALTER COLUMN search SET STATISTICS 300;

CREATE FUNCTION products_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A replica of the version before knows no words: what it edits is folded again.
    IF TG_OP = 'UPDATE' AND NEW.words = OLD.words
        AND (NEW.name <> OLD.name OR NEW.description <> OLD.description) THEN
        NEW.folding := 0;
    END IF;
    NEW.search := to_tsvector('product_words', NEW.words);
    RETURN NEW;
END
$$;
CREATE TRIGGER products_search BEFORE INSERT OR UPDATE OF name, description, words ON products
    FOR EACH ROW EXECUTE FUNCTION products_search();
