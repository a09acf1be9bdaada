-- The catalogue. Times are unix milliseconds, prices minor units of their currency.
CREATE TABLE products (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    name              TEXT    NOT NULL,
    description       TEXT    NOT NULL,
    price             INTEGER NOT NULL CHECK (price > 0),
    currency          TEXT    NOT NULL,
    stock_quantity    INTEGER NOT NULL,             -- on hand, reserved units included
    reserved_quantity INTEGER NOT NULL DEFAULT 0,   -- promised to open reservations
    units_sold        INTEGER NOT NULL DEFAULT 0,
    category          TEXT    NOT NULL,
    image_url         TEXT,
    version           INTEGER NOT NULL DEFAULT 1,
    operation         BLOB    NOT NULL UNIQUE,      -- the request that made it: a repeat finds it
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    price_thousandths INTEGER NOT NULL,             -- the number the price shows, comparable across currencies
    name_folded       TEXT    NOT NULL,             -- lower case, in byte order: the same order in every store
    in_stock          INTEGER GENERATED ALWAYS AS (stock_quantity > reserved_quantity) STORED,
    CONSTRAINT promises_are_kept CHECK (0 <= reserved_quantity AND reserved_quantity <= stock_quantity)
) STRICT;

-- One index per order, alone and within a category; each ends in the id that breaks ties.
CREATE INDEX products_price ON products (price_thousandths, id);
CREATE INDEX products_name ON products (name_folded, id);
CREATE INDEX products_created_at ON products (created_at, id);
CREATE INDEX products_units_sold ON products (units_sold, id);
CREATE INDEX products_category ON products (category, id);
CREATE INDEX products_category_price ON products (category, price_thousandths, id);
CREATE INDEX products_category_name ON products (category, name_folded, id);
CREATE INDEX products_category_created_at ON products (category, created_at, id);
CREATE INDEX products_category_units_sold ON products (category, units_sold, id);
-- What is sold out is the rare case that a walk along the orders above would find slowly.
CREATE INDEX products_sold_out ON products (id) WHERE NOT in_stock;

-- Words of name and description. The text itself stays in products; triggers keep the index in step.
CREATE VIRTUAL TABLE products_words USING fts5 (
    name, description, content = 'products', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER products_words_insert AFTER INSERT ON products BEGIN
    INSERT INTO products_words (rowid, name, description) VALUES (new.id, new.name, new.description);
END;
CREATE TRIGGER products_words_delete AFTER DELETE ON products BEGIN
    INSERT INTO products_words (products_words, rowid, name, description)
    VALUES ('delete', old.id, old.name, old.description);
END;
-- Only when the text changes: a reservation does not touch the index.
CREATE TRIGGER products_words_update AFTER UPDATE OF name, description ON products
WHEN old.name <> new.name OR old.description <> new.description BEGIN
    INSERT INTO products_words (products_words, rowid, name, description)
    VALUES ('delete', old.id, old.name, old.description);
    INSERT INTO products_words (rowid, name, description) VALUES (new.id, new.name, new.description);
END;
