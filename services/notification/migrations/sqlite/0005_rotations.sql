-- Which requests rotated an endpoint's secret lately, so that a repeat does not do it again.
ALTER TABLE webhook_endpoints ADD COLUMN rotations TEXT; -- JSON: [[operation, unix milliseconds], …]
