-- Search by what readers see alike: the service folds name and description (domain/fold.rs) and writes their words here.
ALTER TABLE products ADD COLUMN words TEXT NOT NULL DEFAULT '';
ALTER TABLE products ADD COLUMN folding INTEGER NOT NULL DEFAULT 0; -- which folding wrote words and name_folded
CREATE INDEX products_to_fold ON products (id) WHERE folding <> 1;

DROP TRIGGER products_words_insert;
DROP TRIGGER products_words_delete;
DROP TRIGGER products_words_update;
DROP TABLE products_words;
-- Folded already; marks (M) are parts of words in scripts that have vowels so.
CREATE VIRTUAL TABLE products_words USING fts5 (
    words, content = 'products', content_rowid = 'id',
    tokenize = "porter unicode61 remove_diacritics 0 categories 'L* N* Co M*'"
);
-- Knows every row from here on, as the triggers expect.
INSERT INTO products_words (products_words) VALUES ('rebuild');
CREATE TRIGGER products_words_insert AFTER INSERT ON products BEGIN
    INSERT INTO products_words (rowid, words) VALUES (new.id, new.words);
END;
CREATE TRIGGER products_words_delete AFTER DELETE ON products BEGIN
    INSERT INTO products_words (products_words, rowid, words) VALUES ('delete', old.id, old.words);
END;
-- Only when the words change: a reservation does not touch the index.
CREATE TRIGGER products_words_update AFTER UPDATE OF words ON products WHEN old.words <> new.words BEGIN
    INSERT INTO products_words (products_words, rowid, words) VALUES ('delete', old.id, old.words);
    INSERT INTO products_words (rowid, words) VALUES (new.id, new.words);
END;
