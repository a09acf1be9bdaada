-- Every change of stock, for good: the sums of a product's rows are its stock and what is reserved of it.
CREATE TABLE IF NOT EXISTS stock_movements (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    product_id     INTEGER NOT NULL, -- no reference: a movement outlives its product
    kind           TEXT    NOT NULL CHECK (kind IN ('adjustment', 'reservation', 'sale', 'release', 'restock')),
    stock_delta    INTEGER NOT NULL,
    reserved_delta INTEGER NOT NULL,
    reservation_id BLOB,             -- the reservation that it is of
    operation      BLOB,             -- the request that adjusted: a repeat finds it
    reason         TEXT,             -- of an adjustment
    reference      TEXT,             -- what the client calls it, such as a delivery note
    created_at     INTEGER NOT NULL  -- unix milliseconds
) STRICT;
CREATE INDEX IF NOT EXISTS stock_movements_product ON stock_movements (product_id, id);
CREATE UNIQUE INDEX IF NOT EXISTS stock_movements_operation ON stock_movements (operation)
    WHERE operation IS NOT NULL;

-- The sale of such a reservation counts `units_sold`; those of before are counted by payment.completed.
ALTER TABLE reservations ADD COLUMN sale_counts INTEGER NOT NULL DEFAULT 0;

-- Counts the changes whose movement the writer wrote itself.
ALTER TABLE products ADD COLUMN moves INTEGER NOT NULL DEFAULT 0;

INSERT INTO stock_movements (product_id, kind, stock_delta, reserved_delta, reason, created_at)
SELECT id, 'adjustment', stock_quantity, reserved_quantity, 'opening balance',
    CAST(unixepoch('subsec') * 1000 AS INTEGER)
FROM products
WHERE (stock_quantity <> 0 OR reserved_quantity <> 0)
    AND NOT EXISTS (SELECT 1 FROM stock_movements WHERE product_id = products.id);

-- Who changes stock and writes no movement gets one: an edit, the version before, a statement by hand.
DROP TRIGGER IF EXISTS products_moved_insert;
CREATE TRIGGER products_moved_insert AFTER INSERT ON products
WHEN new.stock_quantity <> 0 OR new.reserved_quantity <> 0 BEGIN
    INSERT INTO stock_movements (product_id, kind, stock_delta, reserved_delta, reason, created_at)
    VALUES (new.id, 'adjustment', new.stock_quantity, new.reserved_quantity, 'product added',
        CAST(unixepoch('subsec') * 1000 AS INTEGER));
END;
DROP TRIGGER IF EXISTS products_moved_update;
CREATE TRIGGER products_moved_update AFTER UPDATE OF stock_quantity, reserved_quantity ON products
WHEN new.moves = old.moves
    AND (new.stock_quantity <> old.stock_quantity OR new.reserved_quantity <> old.reserved_quantity) BEGIN
    INSERT INTO stock_movements (product_id, kind, stock_delta, reserved_delta, reason, created_at)
    VALUES (new.id, 'adjustment', new.stock_quantity - old.stock_quantity,
        new.reserved_quantity - old.reserved_quantity, 'product edited', CAST(unixepoch('subsec') * 1000 AS INTEGER));
END;
DROP TRIGGER IF EXISTS products_moved_delete;
CREATE TRIGGER products_moved_delete AFTER DELETE ON products
WHEN old.stock_quantity <> 0 OR old.reserved_quantity <> 0 BEGIN
    INSERT INTO stock_movements (product_id, kind, stock_delta, reserved_delta, reason, created_at)
    VALUES (old.id, 'adjustment', -old.stock_quantity, -old.reserved_quantity, 'product removed',
        CAST(unixepoch('subsec') * 1000 AS INTEGER));
END;
